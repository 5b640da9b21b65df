package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/dev/doctor"
	"holdfast/internal/dev/stack"
	"holdfast/pkg/crash"
)

// upTimeout includes the installation of packages and jars at a first start.
const upTimeout = 10 * time.Minute

type upCmd struct {
	Strategy string `help:"Stock strategy of inventory-srv." default:"redis-lock" env:"STOCK_STRATEGY"`
	Crash    string `help:"Let a service die once at this crash point; list shows all. Needs Go." placeholder:"SERVICE@POINT"`
	Broker   string `help:"auto, rocketmq or devbroker; auto is RocketMQ if it can run, else the development broker." default:"auto" env:"BROKER"`
	Replicas int    `help:"Processes of each service, 1 to 9; up starts or stops replicas to reach this number." default:"1"`
}

// Run starts the stack.
func (u *upCmd) Run(ctx context.Context, c *cli, stdout io.Writer) error {
	if u.Crash != "" {
		if u.Crash == "list" {
			fmt.Fprintf(stdout, "A service dies once, when\n%s", crash.Lines())
			return nil
		}
		if _, err := crash.Find(u.Crash); err != nil {
			return exit{2, err}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	err = stack.Up(ctx, stack.UpOptions{
		Dir: c.Dir, Bin: filepath.Dir(self), Broker: u.Broker, Crash: u.Crash, Replicas: u.Replicas, Progress: stdout,
		Env: map[string]string{"STOCK_STRATEGY": u.Strategy},
	})
	if err != nil {
		return diagnose(ctx, doctor.Options{Dir: c.Dir, Way: doctor.Native, Broker: u.Broker, Replicas: u.Replicas}, err)
	}
	fmt.Fprintf(stdout, "\nThe shop is open at %s. Next: bin/holdfast ", c.URL)
	return printNext(c.Dir, u.Crash, stdout)
}

type downCmd struct{}

// Run stops the stack.
func (*downCmd) Run(ctx context.Context, c *cli, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return stack.Down(ctx, c.Dir, stdout)
}
