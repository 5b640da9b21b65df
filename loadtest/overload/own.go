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

// logSizes prints how large the services' logs are: they must not grow with the load.
func logSizes(out io.Writer, dir string) {
	for _, name := range services() {
		if info, err := os.Stat(filepath.Join(dir, name+".log")); err == nil {
			fmt.Fprintf(out, "log of %s: %.1f MB\n", name, float64(info.Size())/1e6)
		}
	}
}

// startOwn starts a shop of its own in a temporary folder, on ports of its own, and points o to it. It dies with this
// process. stop ends it and removes the folder; logs is where its logs are until then.
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
	ports, err := stack.FreePorts(3)
	if err != nil {
		return "", nil, err
	}
	stop = func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return errors.Join(stack.Down(ctx, dir, io.Discard), os.RemoveAll(dir))
	}
	base := ports[0]
	err = stack.Up(ctx, stack.UpOptions{
		Dir: dir, Bin: bin, Broker: os.Getenv("BROKER"), Progress: progress, Tie: true,
		Ports: stack.Ports{
			Gateway: base, Order: base + 1, Inventory: base + 2, // their operations are 1000 above
			MySQL: base + 2030, Redis: base + 2040, Namesrv: base + 2050,
		},
	})
	if err != nil {
		return "", nil, errors.Join(err, stop())
	}
	o.url = "http://127.0.0.1:" + strconv.Itoa(base)
	o.ops = nil
	for i := range 3 {
		o.ops = append(o.ops, "127.0.0.1:"+strconv.Itoa(base+1000+i))
	}
	return dir, stop, nil
}
