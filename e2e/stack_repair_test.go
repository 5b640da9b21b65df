package e2e_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
)

// TestStackRepair kills the broker of a running stack, deletes its store and lets Up repair it, twice. The first Up
// cannot seed the catalogue because a program is missing: it fails and keeps the broker that it started. The second Up
// succeeds. The services' processes must not change, and an order can be placed at the end.
func TestStackRepair(t *testing.T) {
	t.Parallel()
	stacktest.SkipIfShort(t, "MySQL, Redis and RocketMQ")
	s := newWholeStack(t)
	s.up(1)
	s.order()
	services := s.pids()

	s.loseBroker()
	out, err := s.tryUp(s.withoutSeeder())
	if err == nil || !strings.Contains(err.Error(), "seed the catalogue") {
		t.Errorf("up without a program: %v\n%s", err, out)
	}
	if !s.state().Up(t.Context()) {
		t.Errorf("up that failed has stopped something:\n%s", out)
	}

	s.loseBroker()
	if out, err := s.tryUp(s.bin); err != nil {
		t.Fatalf("up: %v\n%s", err, out)
	}
	for name, pid := range s.pids() {
		if services[name] != pid {
			t.Errorf("%s was restarted: process %d, before %d", name, pid, services[name])
		}
	}
	s.order()
}

// pids returns the services' process ids.
func (s *wholeStack) pids() map[string]int {
	found := make(map[string]int)
	for _, c := range s.state().Components {
		if strings.HasSuffix(c.Name, "-srv") || c.Name == "api-gateway" {
			found[c.Name] = c.PID
		}
	}
	return found
}

// kill ends a process that is not a child of this one.
func kill(pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return p.Kill()
}

// loseBroker kills the broker and deletes its store.
func (s *wholeStack) loseBroker() {
	s.t.Helper()
	for _, name := range []string{"rocketmq", "devbroker"} {
		c, ok := s.component(name)
		if !ok {
			continue
		}
		if err := kill(c.PID); err != nil {
			s.t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(s.dir, name, "store")); err != nil {
			s.t.Fatal(err)
		}
	}
	s.wantUp(false, "after the broker was killed")
}

// withoutSeeder returns a folder with only the programs that a broker needs.
func (s *wholeStack) withoutSeeder() string {
	s.t.Helper()
	dir := s.t.TempDir()
	if err := os.Symlink(filepath.Join(s.bin, "holdfast"), filepath.Join(dir, "holdfast")); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

// tryUp calls Up with the programs in bin and returns its output.
func (s *wholeStack) tryUp(bin string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Minute)
	defer cancel()
	var out bytes.Buffer
	begin := time.Now()
	defer func() { s.t.Logf("up took %v", time.Since(begin).Round(10*time.Millisecond)) }()
	o := s.options
	o.Bin, o.Progress = bin, &out
	err := stack.Up(ctx, o)
	return out.String(), err
}
