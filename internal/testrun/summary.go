package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// event is a line of `go test -json` (go doc test2json).
type event struct {
	Action, Package, Test, Output, FailedBuild string
	Elapsed                                    float64 // seconds
}

type summary struct {
	w                       io.Writer
	output                  map[string][]string // of tests and packages that have not ended, and of builds
	passed, failed, skipped int
	servers                 map[string]int  // tests by server
	counted                 map[string]bool // server and test
	skips                   map[string]int  // tests by reason
}

func newSummary(w io.Writer) *summary {
	return &summary{
		w: w, output: map[string][]string{}, servers: map[string]int{}, counted: map[string]bool{}, skips: map[string]int{},
	}
}

func (s *summary) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(s.w, lines.Text()) // the build's own words
			continue
		}
		s.take(e)
	}
	return lines.Err()
}

func (s *summary) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		s.output[key] = append(s.output[key], e.Output)
		s.server(key, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			s.endPackage(e, key)
		} else {
			s.endTest(e, key)
		}
		delete(s.output, key)
	case "build-fail":
		fmt.Fprint(s.w, strings.Join(s.output[key], ""))
	}
}

func (s *summary) server(key, line string) {
	_, name, ok := strings.Cut(line, "runs on ")
	if !ok {
		return
	}
	name = strings.TrimSpace(name)
	if !s.counted[name+"\n"+key] {
		s.counted[name+"\n"+key] = true
		s.servers[name]++
	}
}

func (s *summary) endTest(e event, key string) {
	switch e.Action {
	case "pass":
		s.passed++
	case "fail":
		s.failed++
		fmt.Fprintf(s.w, "--- FAIL %s\n%s", key, strings.Join(s.output[key], ""))
	case "skip":
		s.skipped++
		s.skips[reason(s.output[key])]++
	}
}

// reason is the line before "--- SKIP", without its file and line number.
func reason(output []string) string {
	for _, line := range output {
		if _, why, ok := strings.Cut(line, ".go:"); ok {
			_, why, _ = strings.Cut(why, ": ")
			return strings.TrimSpace(why)
		}
	}
	return "no reason given"
}

func (s *summary) endPackage(e event, key string) {
	switch e.Action {
	case "pass":
		fmt.Fprintf(s.w, "ok    %-50s %6.1f s\n", e.Package, e.Elapsed)
	case "fail":
		fmt.Fprintf(s.w, "FAIL  %-50s %6.1f s\n%s", e.Package, e.Elapsed, strings.Join(s.output[key], ""))
	}
}

func (s *summary) print() {
	fmt.Fprintln(s.w)
	for _, name := range slices.Sorted(maps.Keys(s.servers)) {
		fmt.Fprintf(s.w, "%4d tests ran on %s\n", s.servers[name], name)
	}
	for _, why := range slices.Sorted(maps.Keys(s.skips)) {
		fmt.Fprintf(s.w, "%4d skipped: %s\n", s.skips[why], why)
	}
	fmt.Fprintf(s.w, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
}
