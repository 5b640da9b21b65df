// Command exercises shows a learner's progress, checks exercises, gives hints, and checks an exercise again when its
// file is saved. `make exercises`, `make try`, `make hint` and `make watch` run it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// cli is the whole command line.
type cli struct {
	Root     string `help:"Folder of the module holdfast/exercises. Default: the one at or above the working directory." type:"path"`
	Dir      string `help:"Folder of the shop's state. Its servers are used while it is up. Default: .run beside the module's folder." type:"path"`
	Progress string `help:"File of the course in which passed exercises are recorded. Default: course.json in the folder of --dir." env:"HOLDFAST_COURSE" type:"path"`
	Lang     string `help:"Language of the texts: en or zh. Default: that of HOLDFAST_LANG, else of LANG." enum:",en,zh" default:""`
	Command  string `help:"What to type for a command of this program, for the texts. Default: make." env:"EXERCISES_COMMAND"`

	List  listCmd  `cmd:"" help:"Show all exercises: which pass, and what the check of each other one found."`
	Try   tryCmd   `cmd:"" help:"Check one exercise and explain what breaks. Exit status: 0 it passes, 1 it does not."`
	Hint  hintCmd  `cmd:"" help:"Print the next hint, or the one of a level."`
	Watch watchCmd `cmd:"" help:"Check an exercise now and whenever it is saved; without a number the next open one."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err == nil {
		return
	}
	code := 1
	if e, ok := errors.AsType[exit](err); ok {
		code, err = e.code, e.err
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "exercises:", err)
	}
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	var c cli
	parser, err := kong.New(&c, kong.Name("exercises"), kong.Description("Checks the exercises of the course."),
		kong.UsageOnError(), kong.Writers(stdout, os.Stderr))
	if err != nil {
		return err
	}
	k, err := parser.Parse(args)
	if err != nil {
		return exit{2, err}
	}
	r, err := c.runner(ctx, stdout)
	if err != nil {
		return err
	}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, r.Servers.Stop(clean))
	}()
	k.BindTo(ctx, (*context.Context)(nil))
	return k.Run(r)
}
