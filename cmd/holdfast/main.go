// Command holdfast is the learner's command line. It starts and stops the stack, places orders, runs lessons and
// comparisons, and audits the ledgers.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// cli is the whole command line.
type cli struct {
	Dir      string `help:"Folder for the stack's state, data and logs." default:".run" type:"path"`
	URL      string `help:"Address of the gateway." default:"http://127.0.0.1:8080" env:"HOLDFAST_URL"`
	Progress string `help:"File that records which lessons are done. Default: course.json in the folder of --dir." env:"HOLDFAST_COURSE" type:"path"`

	Up            upCmd            `cmd:"" help:"Start the missing parts of the stack and fill the catalogue."`
	Down          downCmd          `cmd:"" help:"Stop the parts that up started. Data is kept."`
	Status        statusCmd        `cmd:"" help:"Show processes, versions, memory and orders by status."`
	Env           envCmd           `cmd:"" help:"Run a command with HOLDFAST_MYSQL, HOLDFAST_REDIS and HOLDFAST_NAMESRV set."`
	Order         orderCmd         `cmd:"" help:"Place an order through the gateway."`
	Lesson        lessonCmd        `cmd:"" help:"Reproduce a classic mistake with locks or stock, and its cure; --list shows all."`
	Course        courseCmd        `cmd:"" help:"Print the course: its chapters, the lessons that are done, and the next one."`
	Devbroker     devbrokerCmd     `cmd:"" help:"Run the development broker alone, in memory, until interrupted."`
	Audit         auditCmd         `cmd:"" help:"Check both ledgers. Exit status: 0 clean, 1 findings, 2 audit failed, 3 nothing sold (--expect-sales)."`
	Dlq           dlqCmd           `cmd:"" name:"dlq" help:"List messages that were given up, or send them again."`
	Doctor        doctorCmd        `cmd:"" help:"Examine this machine: what would stop up, and what to do. Exit status: 0 nothing, 1 problems."`
	WebhookListen webhookListenCmd `cmd:"" help:"Receive the notifications of a buyer's paid orders, verify and print them."`

	Compare  compareCmd  `cmd:"" help:"Run all strategies side by side and write a report: throughput, latency, violations, ratios to FOR UPDATE."`
	Bench    benchCmd    `cmd:"" help:"Measure whole orders of the shop that is up, beside an empty chain of services, and write a report."`
	Generate generateCmd `cmd:"" help:"Load settled orders into both databases, to see how the shop behaves with a long history."`
	Scale    scaleCmd    `cmd:"" help:"Measure what an order costs in a shop without and with a long history, in two shops of its own."`

	Completion completionCmd `cmd:"" help:"Print the script that completes commands, flags, lessons, strategies and crash points in a shell."`

	Complete   completeCmd   `cmd:"" hidden:"" help:"Print the candidates for the last word, for the scripts of completion."`
	LessonRole lessonRoleCmd `cmd:"" hidden:"" help:"Run one of the processes of a lesson."`
	BenchHop   benchHopCmd   `cmd:"" hidden:"" help:"Serve one hop of the empty chain of bench."`
}

// exit is an error with an exit status.
type exit struct {
	code int
	err  error
}

func (e exit) Error() string { return e.err.Error() }

func (e exit) Unwrap() error { return e.err }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err == nil {
		return
	}
	code := 1
	if e, ok := errors.AsType[exit](err); ok {
		code = e.code
		err = e.err
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "holdfast:", err)
	}
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	var c cli
	parser, err := kong.New(&c, kong.Name("holdfast"), kong.Description("Sells limited stock and never oversells."),
		kong.UsageOnError(), kong.Writers(stdout, os.Stderr))
	if err != nil {
		return err
	}
	k, err := parser.Parse(args)
	if err != nil {
		return exit{2, err}
	}
	k.BindTo(ctx, (*context.Context)(nil))
	k.BindTo(stdout, (*io.Writer)(nil))
	return k.Run(&c)
}
