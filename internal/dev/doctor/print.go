package doctor

import (
	"fmt"
	"io"
	"strings"

	"holdfast/internal/dev/terminal"
)

// English says each sentence as it is.
func English(sentence string) string { return sentence }

// Print writes one line for each finding, and below it what to do. in says the sentences in the reader's language. The
// names of the checks are the same in all languages.
func (r Report) Print(w io.Writer, colors bool, in func(sentence string) string) error {
	var b strings.Builder
	for _, f := range r.Findings {
		level := terminal.Pad(in(string(f.Level)), 8, false)
		if colors {
			level = "\x1b[" + f.Level.color() + "m" + level + "\x1b[0m"
		}
		fmt.Fprintf(&b, "%s %-10s %s\n", level, f.Check, in(f.Found))
		if f.Advice != "" {
			fmt.Fprintf(&b, "%20s-> %s\n", "", in(f.Advice))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// color returns the parameter of the control sequence that selects the level's colour.
func (l Level) color() string {
	switch l {
	case OK:
		return "32" // green
	case Warning:
		return "33" // yellow
	case Problem:
		return "31" // red
	}
	return "0"
}

// Bearing returns the report with only the findings that may explain why `up` failed: the problems, and the warnings
// except those that concern other commands.
func (r Report) Bearing() Report {
	bearing := Report{Way: r.Way, Findings: []Finding{}}
	for _, f := range r.Findings {
		elsewhere := f.Check == "proxy" || f.Check == "files" // curl and load tests
		if f.Level == Problem || f.Level == Warning && !elsewhere {
			bearing.add(f)
		}
	}
	return bearing
}

// Summary is the last line: whether something stops `make up`.
func (r Report) Summary() string {
	way := map[Way]string{Docker: "with Docker", Native: "as plain processes"}[r.Way]
	if r.Problems > 0 {
		return fmt.Sprintf("%s would stop make up %s (%s)", counted(r.Problems, "problem"), way, counted(r.Warnings, "warning"))
	}
	return fmt.Sprintf("nothing stops make up %s (%s)", way, counted(r.Warnings, "warning"))
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
