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
	ports, release, err := stack.ClaimPorts()
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	endProxy := func() error { return nil }
	if o.slow > 0 {
		proxy, err := slowDown(ctx, "127.0.0.1:"+strconv.Itoa(ports.MySQL), o.slow)
		if err != nil {
			return "", nil, errors.Join(err, release(), os.RemoveAll(dir))
		}
		ports.MySQLProxy, endProxy = proxy.port(), proxy.close
	}
	stop = func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return errors.Join(stack.Down(ctx, dir, io.Discard), endProxy(), release(), os.RemoveAll(dir))
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

const opsOffset = 1000 // distance from a service's port to its operations port
