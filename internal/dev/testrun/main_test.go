package main

import (
	"io"
	"slices"
	"strings"
	"testing"
)

const stream = `{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: runs on MariaDB 10.11.19\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:9: runs on MariaDB 10.11.19\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: runs on MariaDB 10.11.19\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:8: got 1, want 2\n"}
{"Action":"output","Package":"p","Test":"TestC","Output":"    c_test.go:8: needs a server\n"}
{"Action":"output","Package":"p","Test":"TestC","Output":"    c_test.go:9: runs on RocketMQ 5.4.0\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"skip","Package":"p","Test":"TestC"}
{"Action":"fail","Package":"p","Elapsed":1.5}
`

func TestSummary(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	s := newSummary(&out)
	if err := s.read(strings.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	s.print()
	for _, want := range []string{
		"2 tests ran on MariaDB 10.11.19", "1 skipped: needs a server", "1 passed, 1 failed, 1 skipped",
		"got 1, want 2", "--- FAIL p TestB", "FAIL  p",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out.String())
		}
	}
	for want, ok := range map[string]bool{
		"MariaDB": true, "MariaDB 10.11.19": true, "MariaDB@p": true,
		"Maria": false, "MariaDB@q": false, "RocketMQ": false, // the one test on it was skipped
	} {
		if err := s.require(want); (err == nil) != ok {
			t.Errorf("require %q: %v", want, err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	env, args := environment([]string{"BROKER=devbroker", "EMPTY=", "-run=A|B", "./e2e"})
	if !slices.Equal(env, []string{"BROKER=devbroker", "EMPTY="}) || !slices.Equal(args, []string{"-run=A|B", "./e2e"}) {
		t.Errorf("environment %q, arguments %q", env, args)
	}
}

func TestGoArgs(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"-short ./...":            "test -json -short ./...",
		"-C exercises -short ./x": "test -C exercises -json -short ./x",
		"./exercises -C":          "test -json ./exercises -C",
	} {
		if got := strings.Join(goArgs(strings.Fields(in)), " "); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestRun_require runs a test of this package three times: as it is, with an environment that breaks go test, and with
// a required server.
func TestRun_require(t *testing.T) {
	t.Parallel()
	pass := []string{"-short", "-run", "TestPasses", "."}
	if err := run(t.Context(), pass, io.Discard); err != nil {
		t.Error(err)
	}
	if err := run(t.Context(), append([]string{"GOFLAGS=-nonsense"}, pass...), io.Discard); err == nil {
		t.Error("the pass did not get its environment")
	}
	err := run(t.Context(), append([]string{"-require", "RocketMQ"}, pass...), io.Discard)
	if err == nil || err.Error() != "no test ran on RocketMQ" {
		t.Errorf("error = %v, want that no test ran on RocketMQ", err)
	}
}

func TestPasses(t *testing.T) {
	t.Parallel()
	got := passes([]string{"-race", "./...", "--", "./pkg/mq"})
	if len(got) != 2 || !slices.Equal(got[0], []string{"-race", "./..."}) || !slices.Equal(got[1], []string{"./pkg/mq"}) {
		t.Errorf("passes = %q", got)
	}
}
