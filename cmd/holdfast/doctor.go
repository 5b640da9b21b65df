package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"holdfast/internal/dev/doctor"
	"holdfast/internal/dev/terminal"
	"holdfast/internal/lab/phrase"
)

type doctorCmd struct {
	Way      string `help:"${enum}; auto is the way that make up goes." enum:"auto,docker,native" default:"auto"`
	Lang     string `help:"Language of the text: en or zh. Default: that of HOLDFAST_LANG, else of LANG. --json is always English." enum:",en,zh" default:""`
	Problems bool   `help:"Print only what may explain why up failed."`
	JSON     bool   `help:"Print one JSON document." name:"json"`
}

// Run examines the machine. It exits with status 1 if a problem stops `up`.
func (d *doctorCmd) Run(ctx context.Context, c *cli, stdout io.Writer) error {
	report := doctor.Examine(ctx, doctor.This(), doctor.Options{Dir: c.Dir, Way: doctor.Way(d.Way)})
	if d.Problems {
		report = report.Bearing()
	}
	if err := d.print(stdout, report); err != nil {
		return exit{2, err}
	}
	if report.Problems > 0 {
		return exit{1, nil}
	}
	return nil
}

func (d *doctorCmd) print(stdout io.Writer, report doctor.Report) error {
	if d.JSON {
		return printJSON(stdout, report)
	}
	in, err := phrase.New(language(d.Lang))
	if err != nil {
		return err
	}
	if err := report.Print(stdout, terminal.Colors(stdout, os.Getenv), in.Sentence); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "\n%s\n", in.Sentence(report.Summary()))
	return err
}

// diagnose adds to an error of `up` what the doctor finds. It returns err unchanged after an interruption, and if the
// doctor finds nothing.
func diagnose(ctx context.Context, o doctor.Options, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return err
	}
	report := doctor.Examine(context.WithoutCancel(ctx), doctor.This(), o).Bearing()
	if len(report.Findings) == 0 {
		return err
	}
	var text strings.Builder
	if printErr := report.Print(&text, false, doctor.English); printErr != nil {
		return errors.Join(err, printErr)
	}
	return fmt.Errorf("%w\n\nholdfast doctor finds:\n%s", err, strings.TrimSuffix(text.String(), "\n"))
}
