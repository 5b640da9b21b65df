package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/internal/lab/bench"
	"holdfast/order-srv/orderlab"
	"holdfast/pkg/database"
)

type benchCmd struct {
	Preset     string   `help:"quick (about two minutes) or standard (about fifteen minutes)." default:"quick"`
	Strategies []string `help:"Measure only these strategies of the shop."`
	Flows      bool     `help:"Measure the flows beside each other, with one strategy: conditional, or the first of --strategies."`
	Out        string   `help:"Folder for bench.json and bench.html." default:"bench" type:"path"`
	Ratios     string   `help:"Run nothing; print a small table of an earlier run's bench.json: orders per second and ratios, a row for each strategy." placeholder:"FILE"`
	Table      string   `help:"Run nothing; print the table of an earlier run's bench.json as Markdown." placeholder:"FILE"`
}

// Run measures whole orders on the stack that is up, beside an empty chain of services, and writes the report. It exits
// with status 1 if an audit after a cell had findings.
func (b *benchCmd) Run(ctx context.Context, c *cli, stdout io.Writer) error {
	if b.Ratios != "" {
		report, err := bench.Read(b.Ratios)
		if err != nil {
			return exit{2, err}
		}
		return report.Ratios(stdout)
	}
	if b.Table != "" {
		report, err := bench.Read(b.Table)
		if err != nil {
			return exit{2, err}
		}
		return report.Table(stdout)
	}
	preset, err := bench.PresetNamed(b.Preset)
	if err != nil {
		return exit{2, err}
	}
	if b.Flows {
		preset.Flows, preset.Strategies = orderlab.Flows(), []string{"conditional"} // the only one that xa can use
	}
	if len(b.Strategies) > 0 {
		preset.Strategies = b.Strategies
	}
	report, err := b.measure(ctx, c, preset)
	if len(report.Cells) > 0 { // also after an interruption
		err = errors.Join(err, report.Write(b.Out), report.Table(stdout))
		fmt.Fprintf(stdout, "\n%s\n", filepath.Join(b.Out, "bench.html"))
	}
	if broken := report.Broken(); err == nil && len(broken) > 0 {
		err = exit{1, fmt.Errorf("the audit had findings after %d cells, the first: %q", len(broken), broken[0].Findings)}
	}
	if err != nil {
		printLogs(stdout, c.Dir)
	}
	return err
}

// printLogs prints where the services' logs are; nothing when no service is recorded.
func printLogs(stdout io.Writer, dir string) {
	state, err := stack.Load(dir)
	if err != nil {
		return // measure has returned it
	}
	for _, p := range state.Components {
		if p.Ops != "" { // a service
			fmt.Fprintf(stdout, "the log of %s: %s\n", p.Name, p.Log)
		}
	}
}

func (b *benchCmd) measure(ctx context.Context, c *cli, preset bench.Preset) (r bench.Report, err error) {
	state, err := stack.Load(c.Dir)
	if err != nil {
		return r, err
	}
	if !state.Up(ctx) {
		return r, exit{2, errors.New("bench reads the processes' CPU time, so the shop must run as plain processes: make up NATIVE=1")}
	}
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	vars := stack.UpVars(os.Getenv)
	db, err := database.Open(ctx, vars.MySQL, database.Options{})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, database.Close(db)) }()
	pool, err := db.DB()
	if err != nil {
		return r, err
	}
	dir, err := os.MkdirTemp("", "holdfast-bench-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	pids := map[string]int{}
	for _, p := range state.Components {
		pids[p.Name] = p.PID
	}
	begun := time.Now()
	progress := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.String("elapsed", time.Since(begun).Round(time.Second).String())
		}
		return a
	}}))
	return bench.Run(ctx, bench.Options{
		URL: c.URL, MySQL: pool, Namesrv: vars.Namesrv, PIDs: pids, Broker: state.Broker(), Self: self, Dir: dir,
		Preset: preset, Progress: progress,
	})
}

type benchHopCmd struct {
	Addr string `arg:""`
	Next string `arg:"" optional:""`
}

// Run serves one hop of the chain.
func (b *benchHopCmd) Run(ctx context.Context) error {
	return bench.Hop(ctx, b.Addr, b.Next)
}
