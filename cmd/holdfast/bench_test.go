package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/dev/stack"
)

// TestBench_logs: a bench that fails prints where the logs of the services are. The log of a server is none of them.
func TestBench_logs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	state, err := json.Marshal(stack.State{Components: []stack.Component{
		{Name: "mysql", Log: filepath.Join(dir, "mysql.log")},
		{Name: "order-srv", Ops: "127.0.0.1:1", Log: filepath.Join(dir, "order-srv.log")},
		{Name: "api-gateway", Ops: "127.0.0.1:2", Log: filepath.Join(dir, "api-gateway.log")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "state.json"), state, 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := (&benchCmd{Preset: "quick"}).Run(t.Context(), &cli{Dir: dir}, &out); err == nil {
		t.Error("a bench without a shop succeeds")
	}
	want := fmt.Sprintf("the log of order-srv: %s\nthe log of api-gateway: %s\n", filepath.Join(dir, "order-srv.log"), filepath.Join(dir, "api-gateway.log"))
	if out.String() != want {
		t.Errorf("output %q, want %q", out.String(), want)
	}
}

// TestCI_warnings: CI shows the last 30 warnings and errors of each service, and nothing else.
func TestCI_warnings(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is missing")
	}
	dir := t.TempDir()
	var log strings.Builder
	for i := range 40 {
		fmt.Fprintf(&log, `{"level":"INFO","msg":"fine %d","service":"order-srv"}`+"\n", i)
		fmt.Fprintf(&log, `{"level":"%s","msg":"odd %d.","service":"order-srv"}`+"\n", []string{"WARN", "ERROR"}[i%2], i)
	}
	for name, text := range map[string]string{
		"order-srv.log": log.String(), "api-gateway.log": `{"level":"INFO","msg":"starting","service":"api-gateway"}`, "mysql.log": "[ERROR] of a server",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script, err := filepath.Abs("../../.ci/warnings")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := exec.CommandContext(t.Context(), "bash", script, dir).CombinedOutput()
	out := string(raw)
	if err != nil || strings.Count(out, "odd ") != 30 || !strings.Contains(out, "odd 10.") || !strings.Contains(out, "odd 39.") {
		t.Errorf("error %v, output\n%s", err, out)
	}
	if strings.Contains(out, "fine") || strings.Contains(out, "of a server") || !strings.Contains(out, "api-gateway.log") || !strings.Contains(out, "order-srv.log") {
		t.Errorf("output\n%s", out)
	}
}
