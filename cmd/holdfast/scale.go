package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"holdfast/internal/lab/scale"
)

type scaleCmd struct {
	Sizes  []int  `help:"Stored orders, which are measured beside an empty shop; ten million need 20 GB." default:"1000000"`
	Rounds int    `help:"Rounds of each size." default:"3"`
	Broker string `help:"auto, rocketmq or devbroker, as for up." default:"auto" env:"BROKER"`
	Tmp    string `help:"Folder for the shops' data, which is deleted afterwards." default:"" type:"path"`
	Out    string `help:"File for the report." default:"scale.json" type:"path"`
}

// Run measures the shop's work without and with a long history, in two shops of its own, and prints a table.
func (s *scaleCmd) Run(ctx context.Context, stdout io.Writer) (err error) {
	if len(s.Sizes) == 0 || s.Rounds < 1 || slices.Min(s.Sizes) < 0 {
		return exit{2, errors.New("--sizes needs at least one number of orders, and --rounds at least 1")}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(s.Tmp, "holdfast-scale-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	report, err := scale.Run(ctx, scale.Options{
		Sizes: slices.Sorted(slices.Values(s.Sizes)), Rounds: s.Rounds, Dir: dir, Bin: filepath.Dir(self), Broker: s.Broker,
		Progress: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if len(report.Costs) > 0 { // also after an interruption
		err = errors.Join(err, report.Write(s.Out), report.Table(stdout))
	}
	if err != nil {
		return fmt.Errorf("scale: %w", err)
	}
	return nil
}
