package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"holdfast/internal/lab/compareflows"
)

// compareFlows compares the flows in a shop of its own, and writes the report. It exits with status 1 if an audit had
// findings.
func (c *compareCmd) compareFlows(ctx context.Context, stdout io.Writer) error {
	if c.Ratios != "" || len(c.Strategies) > 0 {
		return exit{2, errors.New("--ratios and --strategies are for the comparison of strategies, without --flows")}
	}
	if c.Table != "" {
		report, err := compareflows.Read(c.Table)
		if err != nil {
			return exit{2, err}
		}
		return c.printFlows(stdout, report)
	}
	preset, err := compareflows.PresetNamed(c.Preset)
	if err != nil {
		return exit{2, err}
	}
	report, err := c.measureFlows(ctx, preset)
	if len(report.Cells) > 0 { // also after an interruption
		err = errors.Join(err, report.Write(c.Out), c.printFlows(stdout, report))
		fmt.Fprintf(c.text(stdout), "\n%s\n", filepath.Join(c.Out, "compare-flows.html"))
	}
	if err != nil {
		return err
	}
	if broken := report.Broken(); len(broken) > 0 {
		return exit{1, fmt.Errorf("the audits had %d findings, the first: %s", len(broken), broken[0])}
	}
	return nil
}

func (c *compareCmd) printFlows(stdout io.Writer, report compareflows.Report) error {
	if c.JSON {
		return printJSON(stdout, report)
	}
	return report.Table(stdout)
}

func (c *compareCmd) measureFlows(ctx context.Context, preset compareflows.Preset) (r compareflows.Report, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	dir, err := os.MkdirTemp("", "holdfast-flows-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return compareflows.Run(ctx, compareflows.Options{
		Preset: preset, Dir: dir, Bin: filepath.Dir(self), Broker: c.Broker, Progress: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
}
