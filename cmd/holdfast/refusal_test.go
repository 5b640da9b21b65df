package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"holdfast/internal/dev/stack"
)

// TestRun_refusals: what a command cannot do with its arguments ends with status 2 before anything is started. The
// error says why.
func TestRun_refusals(t *testing.T) {
	t.Parallel()
	damaged := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(damaged, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"unknown", []string{"lesson", "no-such-lesson"}},
		{"a lesson's name or --all, not both", []string{"lesson", "naive", "--all"}},
		{"lesson choosing-an-mq has no parameter buyers", []string{"lesson", "choosing-an-mq", "--buyers", "30"}},
		{"has no parameter ttl", []string{"lesson", "--all", "--ttl", "1s"}},
		{"--lang", []string{"lesson", "--list", "--lang", "fr"}},
		{"--orders is at least 1", []string{"generate", "--orders", "0"}},
		{"--orders", []string{"generate"}},
		{"--orders", []string{"generate", "--orders", "many"}},
		{"--rounds at least 1", []string{"scale", "--rounds", "0"}},
		{"--sizes", []string{"scale", "--sizes", "10,-1"}},
		{"no command given", []string{"env", "--"}},
		{"no command given", []string{"env", "--private", "--"}},
		{"hourly", []string{"compare", "--preset", "hourly"}},
		{"hourly", []string{"bench", "--preset", "hourly"}},
		{"missing.json", []string{"compare", "--table", "missing.json"}},
		{"missing.json", []string{"compare", "--ratios", "missing.json"}},
		{"missing.json", []string{"bench", "--table", "missing.json"}},
		{"missing.json", []string{"bench", "--ratios", "missing.json"}},
		{"report.json", []string{"compare", "--table", damaged}},
		{"report.json", []string{"bench", "--table", damaged}},
		{"nowhere@nothing", []string{"up", "--crash", "nowhere@nothing"}},
		{"--way", []string{"doctor", "--way", "walk"}},
		{"--sku", []string{"order"}},
		{"unexpected argument no-such-command", []string{"no-such-command"}},
		{"unknown flag --no-such-flag", []string{"status", "--no-such-flag"}},
		{"expected one of", nil},
	} {
		var out bytes.Buffer
		err := run(t.Context(), append([]string{"--dir", t.TempDir()}, tt.args...), &out)
		if code(err) != 2 {
			t.Errorf("%q: %v with status %d, want 2", tt.args, err, code(err))
			continue
		}
		says(t, err.Error(), []string{tt.want})
	}
}

// TestExit: the status does not hide what the error is.
func TestExit(t *testing.T) {
	t.Parallel()
	_, err := os.ReadFile(filepath.Join(t.TempDir(), "missing"))
	if wrapped := error(exit{2, err}); !errors.Is(wrapped, os.ErrNotExist) || wrapped.Error() != err.Error() {
		t.Errorf("%v, want %v", wrapped, err)
	}
}

// TestRunCommand: the exit status is that of the command, and the command has the servers' addresses in its
// environment.
func TestRunCommand(t *testing.T) {
	t.Parallel()
	vars := stack.Vars{Redis: "127.0.0.1:7"}
	for script, want := range map[string]int{
		`test "$HOLDFAST_REDIS" = 127.0.0.1:7`: 0, "exit 7": 7, "kill -9 $$": 1, // a signal has no status
	} {
		if err := runCommand(t.Context(), []string{"sh", "-c", script}, vars); code(err) != want {
			t.Errorf("%s: status %d, want %d", script, code(err), want)
		}
	}
	err := runCommand(t.Context(), []string{filepath.Join(t.TempDir(), "missing")}, vars)
	if _, ok := errors.AsType[exit](err); ok || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a command that does not exist: %v", err)
	}
}

// TestTargetOf: the shop cannot call an address that stands for all addresses. It gets this machine's name.
func TestTargetOf(t *testing.T) {
	t.Parallel()
	name, err := os.Hostname()
	if err != nil {
		t.Skip("this machine has no name")
	}
	for addr, want := range map[string]string{
		"127.0.0.1:9595": "http://127.0.0.1:9595/",
		"[::1]:9595":     "http://[::1]:9595/",
		"0.0.0.0:9595":   "http://" + name + ":9595/",
		"[::]:9595":      "http://" + name + ":9595/",
	} {
		tcp, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := targetOf(tcp); err != nil || got != want {
			t.Errorf("%s: %s, error %v; want %s", addr, got, err, want)
		}
	}
	if got, err := targetOf(&net.UnixAddr{Name: "socket", Net: "unix"}); err == nil {
		t.Errorf("a socket without a port: %s", got)
	}
}

// TestSample reads the lines of Prometheus' text format, and leaves out what is none.
func TestSample(t *testing.T) {
	t.Parallel()
	type sampled struct {
		name  string
		value float64
		ok    bool
	}
	for line, want := range map[string]sampled{
		"up 1":                               {"up", 1, true},
		`checks{answer="a b",group="g"} 1.5`: {"checks", 1.5, true},
		`checks{text="} 7"} 2`:               {"checks", 2, true},
		"big 1.2e+06":                        {"big", 1_200_000, true},
		"# HELP up 1":                        {},
		"# TYPE up 1":                        {},
		"":                                   {},
		"up":                                 {},
		`checks{answer="a b"}`:               {},
		"up one":                             {},
	} {
		name, value, ok := sample(line)
		if got := (sampled{name, value, ok}); ok != want.ok || ok && got != want {
			t.Errorf("%q: %+v, want %+v", line, got, want)
		}
	}
}
