package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"holdfast/internal/dev/stack"
)

// logSizes prints the sizes of the services' logs, which must not grow with the load.
func logSizes(out io.Writer, dir string) {
	for _, name := range services() {
		if info, err := os.Stat(filepath.Join(dir, name+".log")); err == nil {
			fmt.Fprintf(out, "log of %s: %.1f MB\n", name, float64(info.Size())/1e6)
		}
	}
}

// startOwn starts a private shop in a temporary folder on free ports, and points o to it. The shop ends with this
// process. stop ends it and removes the folder; logs is the folder of its logs until then.
func startOwn(ctx context.Context, o *options, progress io.Writer) (logs string, stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	bin := filepath.Dir(self)
	if _, err := exec.LookPath(filepath.Join(bin, "order-srv")); err != nil {
		return "", nil, fmt.Errorf("the services are not beside this program, make overload builds both: %w", err)
	}
	dir, err := os.MkdirTemp("", "holdfast-overload-")
	if err != nil {
		return "", nil, err
	}
	ports, err := ownPorts()
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	endProxy := func() error { return nil }
	if o.slow > 0 {
		proxy, err := slowDown(ctx, "127.0.0.1:"+strconv.Itoa(ports.MySQL), o.slow)
		if err != nil {
			return "", nil, errors.Join(err, os.RemoveAll(dir))
		}
		ports.MySQLProxy, endProxy = proxy.port(), proxy.close
	}
	stop = func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return errors.Join(stack.Down(ctx, dir, io.Discard), endProxy(), os.RemoveAll(dir))
	}
	err = stack.Up(ctx, stack.UpOptions{Dir: dir, Bin: bin, Broker: os.Getenv("BROKER"), Progress: progress, Tie: true, Ports: ports})
	if err != nil {
		return "", nil, errors.Join(err, stop())
	}
	o.url = "http://127.0.0.1:" + strconv.Itoa(ports.Gateway)
	o.ops = nil
	for _, port := range []int{ports.Gateway, ports.Order, ports.Inventory} {
		o.ops = append(o.ops, "127.0.0.1:"+strconv.Itoa(port+opsOffset))
	}
	return dir, stop, nil
}

const (
	opsOffset = 1000 // distance from a service's port to its operations port
	portTries = 50

	outgoing = 32768 // Linux uses the ports from here on for outgoing connections
)

// ownPorts returns free ports for a shop. The last one of RocketMQ is 1,066 above the first port of the shop.
func ownPorts() (stack.Ports, error) {
	err := error(nil)
	for range portTries {
		var block []int
		if block, err = stack.FreePorts(40); err != nil {
			return stack.Ports{}, err
		}
		first := block[0]
		if first+opsOffset+70 > outgoing {
			continue
		}
		for port := first + opsOffset; port < first+opsOffset+70 && err == nil; port++ {
			err = stack.PortFree(port)
		}
		if err == nil {
			return stack.Ports{
				// Their operations ports are opsOffset above.
				Gateway: first, Order: first + 1, Inventory: first + 2, Wallet: first + 3,
				MySQL: first + 10, Redis: first + 20, Namesrv: first + 30,
			}, nil
		}
	}
	return stack.Ports{}, err
}
