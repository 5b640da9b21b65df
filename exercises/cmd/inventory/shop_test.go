package main_test

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
)

// TestShop starts a whole shop whose inventory-srv has the solution of exercise 10, as make up-mine does with the
// learner's file. Orders that name the strategy mine are reserved by it, the last ones are refused, and the audit of
// the shop finds nothing.
func TestShop(t *testing.T) {
	t.Parallel()
	stacktest.SkipIfShort(t, "a whole shop")
	bin, ports, dir := build(t), stacktest.Ports(t), t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var out bytes.Buffer
	err := stack.Up(ctx, stack.UpOptions{Dir: dir, Bin: bin, Broker: stack.BrokerDev, Ports: ports, Progress: &out, Tie: true})
	if err != nil {
		t.Fatalf("up: %v\n%s", err, out.String())
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := stack.Down(ctx, dir, &out); err != nil {
			t.Errorf("down: %v", err)
		}
	})
	holdfast := func(args ...string) (string, error) {
		url := fmt.Sprintf("http://127.0.0.1:%d", ports.Gateway)
		out, err := exec.CommandContext(ctx, program(bin, "holdfast"), append([]string{"--dir", dir, "--url", url}, args...)...).CombinedOutput()
		return string(out), err
	}
	order := []string{"order", "--sku", "LAMP-LIMITED", "--quantity", "15", "--strategy", "mine"}
	if said, err := holdfast(order...); err != nil || !strings.Contains(said, "is PLACED") {
		t.Errorf("15 of 20 lamps by mine: %v\n%s", err, said)
	}
	if said, err := holdfast(order...); err == nil || !strings.Contains(strings.ToLower(said), "stock") {
		t.Errorf("15 of 5 lamps by mine: %v\n%s", err, said)
	}
	if said, err := holdfast("order", "--sku", "LAMP-LIMITED", "--strategy", "nobodys"); err == nil {
		t.Errorf("an order by a strategy that does not exist was placed:\n%s", said)
	}
	if said, err := holdfast("audit"); err != nil {
		t.Errorf("audit: %v\n%s", err, said)
	}
}

// build compiles a shop whose inventory-srv has the solution.
func build(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	for _, args := range [][]string{
		{"-C", "../../..", "build", "-o", bin + string(filepath.Separator), "./cmd/holdfast", "./api-gateway", "./order-srv"},
		{"build", "-o", program(bin, "inventory-srv"), "./testdata/solved"},
	} {
		if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return bin
}

func program(bin, name string) string {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(bin, name)
}
