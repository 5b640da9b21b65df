// Command compare runs the comparison of the strategies with the one of exercise 10, beside SELECT ... FOR UPDATE, the
// reference, and the strategies that -strategies names. It writes compare.json and compare.html. `make compare-mine`
// runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	exercise "holdfast/exercises/10-own-strategy"
	"holdfast/internal/lab/compare"
	"holdfast/inventory-srv/inventorylab"
	"holdfast/pkg/server"
)

// startTimeout includes the installation of the servers' packages at a first start.
const startTimeout = 10 * time.Minute

func main() { server.Main(run) }

func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	mine := exercise.Strategy()
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	name := flags.String("preset", "quick", "quick, standard or long")
	others := flags.String("strategies", "conditional", "strategies beside yours, separated by commas; all: every one")
	out := flags.String("out", "compare/mine", "folder for compare.json and compare.html")
	if err := flags.Parse(args); err != nil {
		return err
	}
	preset, err := compare.PresetNamed(*name)
	if err != nil {
		return err
	}
	var chosen []string // none: every one
	if *others != "all" {
		chosen = append(strings.FieldsFunc(*others, func(r rune) bool { return r == ',' }), mine.Name)
	}
	report, err := compare.RunOnPrivate(ctx, getenv("HOLDFAST_MYSQL"), startTimeout, compare.Options{
		Preset: preset, Strategies: chosen, Extra: []inventorylab.Strategy{mine}, Progress: os.Stderr,
	})
	if len(report.Cells) > 0 { // also after an interruption
		err = errors.Join(err, report.Write(*out), report.Table(stdout))
		fmt.Fprintf(stdout, "\n%s\n", filepath.Join(*out, "compare.html"))
	}
	if err != nil {
		return err
	}
	for _, b := range report.BrokenSafe() {
		fmt.Fprintf(stdout, "BROKEN %s, %s: %q\n", b.Strategy, b.Shape, b.Findings)
	}
	if broken := report.BrokenSafe(); len(broken) > 0 {
		return fmt.Errorf("%d cells have violations or failed orders", len(broken))
	}
	return nil
}
