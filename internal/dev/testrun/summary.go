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

// event is a line of `go test -json` (see go doc test2json).
type event struct {
	Action, Package, Test, Output, FailedBuild string
	Elapsed                                    float64 // seconds
}

// place is a server in a package.
type place struct{ server, pkg string }

type summary struct {
	w                       io.Writer
	output                  map[string][]string // of running tests, packages and builds
	passed, failed, skipped int
	ran                     map[place]int  // passed and failed tests by server and package
	skips                   map[string]int // skipped tests by reason
}

func newSummary(w io.Writer) *summary {
	return &summary{w: w, output: map[string][]string{}, ran: map[place]int{}, skips: map[string]int{}}
}

func (s *summary) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(s.w, lines.Text()) // output of the build
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
		return
	}
	for server := range servers(s.output[key]) {
		s.ran[place{server, e.Package}]++
	}
}

// servers returns the servers that a test's output names.
func servers(output []string) map[string]bool {
	found := map[string]bool{}
	for _, line := range output {
		if _, name, ok := strings.Cut(line, "runs on "); ok {
			found[strings.TrimSpace(name)] = true
		}
	}
	return found
}

// reason returns the message of a skipped test, without its file and line number.
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
	total := map[string]int{}
	for p, n := range s.ran {
		total[p.server] += n
	}
	for _, name := range slices.Sorted(maps.Keys(total)) {
		fmt.Fprintf(s.w, "%4d tests ran on %s\n", total[name], name)
	}
	for _, why := range slices.Sorted(maps.Keys(s.skips)) {
		fmt.Fprintf(s.w, "%4d skipped: %s\n", s.skips[why], why)
	}
	fmt.Fprintf(s.w, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
}

// require returns an error if no test ran on the server. "RocketMQ" means any version; "RocketMQ@holdfast/e2e" means a
// test in that package.
func (s *summary) require(want string) error {
	server, pkg, _ := strings.Cut(want, "@")
	for p := range s.ran {
		if (p.server == server || strings.HasPrefix(p.server, server+" ")) && (pkg == "" || pkg == p.pkg) {
			return nil
		}
	}
	return fmt.Errorf("no test ran on %s", strings.Replace(want, "@", " in ", 1))
}
