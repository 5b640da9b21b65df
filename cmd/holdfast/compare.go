package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"holdfast/internal/lab/compare"
)

type compareCmd struct {
	Preset     string   `help:"quick (2 to 6 minutes), standard (20 to 40 minutes) or long (90 to 180 minutes). With --flows: quick (about 100 seconds) or standard (about 4 minutes)." default:"quick"`
	Strategies []string `help:"Run only these strategies; for-update is added as the baseline."`
	Flows      bool     `help:"Compare the flows instead, in a shop of its own: when the client knows, what an order costs, and an outage of inventory."`
	Broker     string   `help:"With --flows: auto, rocketmq or devbroker, as for up." default:"auto" env:"BROKER"`
	Out        string   `help:"Folder for compare.json and compare.html, with --flows for compare-flows.json and compare-flows.html." default:"compare" type:"path"`
	Pool       int      `help:"Maximum database connections of one replica." default:"64"`
	Ratios     string   `help:"Run nothing; print a small table of an earlier run's compare.json: only ratios, a row for each strategy." placeholder:"FILE"`
	Table      string   `help:"Run nothing; print the table of an earlier run's compare.json as Markdown." placeholder:"FILE"`
	JSON       bool     `help:"Print the report as one JSON document, the content of compare.json." name:"json"`
}

// Run compares the strategies on private servers, or on the database server that HOLDFAST_MYSQL names, and writes the
// report. It exits with status 1 if a safe strategy violated an invariant or failed orders.
func (c *compareCmd) Run(ctx context.Context, stdout io.Writer) error {
	if c.Flows {
		return c.compareFlows(ctx, stdout)
	}
	if c.Ratios != "" {
		report, err := compare.Read(c.Ratios)
		if err != nil {
			return exit{2, err}
		}
		return report.Ratios(stdout)
	}
	if c.Table != "" {
		report, err := compare.Read(c.Table)
		if err != nil {
			return exit{2, err}
		}
		return c.print(stdout, report)
	}
	preset, err := compare.PresetNamed(c.Preset)
	if err != nil {
		return exit{2, err}
	}
	report, err := compare.RunOnPrivate(ctx, os.Getenv("HOLDFAST_MYSQL"), upTimeout, compare.Options{
		Preset: preset, Strategies: c.Strategies, Pool: c.Pool, Progress: os.Stderr,
	})
	if len(report.Cells) > 0 { // also after an interruption
		err = errors.Join(err, report.Write(c.Out), c.print(stdout, report))
		fmt.Fprintf(c.text(stdout), "\n%s\n", filepath.Join(c.Out, "compare.html"))
	}
	if err != nil {
		return err
	}
	if broken := report.BrokenSafe(); len(broken) > 0 {
		for _, b := range broken {
			fmt.Fprintf(c.text(stdout), "BROKEN %s, %s: %q\n", b.Strategy, b.Shape, b.Findings)
		}
		return exit{1, fmt.Errorf("safe strategies failed in %d cells", len(broken))}
	}
	return nil
}

// print prints the report as a table or as JSON.
func (c *compareCmd) print(stdout io.Writer, report compare.Report) error {
	if c.JSON {
		return printJSON(stdout, report)
	}
	return report.Table(stdout)
}

// text returns where text for people goes: with --json, standard output has the document only.
func (c *compareCmd) text(stdout io.Writer) io.Writer {
	if c.JSON {
		return os.Stderr
	}
	return stdout
}
