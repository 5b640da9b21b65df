package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/order-srv/check"
	"holdfast/pkg/crash"
)

// stackDir returns a folder with the state of a stack whose order-srv does not run. armed is its crash point, or "".
// Processes have died at the points in reached.
func stackDir(t *testing.T, armed crash.Point, reached ...crash.Point) string {
	t.Helper()
	dir := t.TempDir()
	state, err := json.Marshal(stack.State{
		Components: []stack.Component{{Name: "order-srv", Marker: "no such process"}}, Crash: string(armed),
	})
	if err != nil {
		t.Fatal(err)
	}
	marks := filepath.Join(dir, "crash", "marks")
	err = errors.Join(os.WriteFile(filepath.Join(dir, "state.json"), state, 0o600), os.MkdirAll(marks, 0o700))
	for _, p := range reached {
		err = errors.Join(err, os.WriteFile(crash.Mark(marks, p), nil, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// says checks that got contains all texts in want and none in not.
func says(t *testing.T, got string, want []string, not ...string) {
	t.Helper()
	for _, text := range want {
		if !strings.Contains(got, text) {
			t.Errorf("output lacks %q:\n%s", text, got)
		}
	}
	for _, text := range not {
		if strings.Contains(got, text) {
			t.Errorf("output contains %q:\n%s", text, got)
		}
	}
}

var errBroken = errors.New("order does not answer")

func TestExplain(t *testing.T) {
	t.Parallel()
	died := explain(t.Context(), stackDir(t, crash.OrderReserved, crash.OrderReserved), errBroken)
	says(t, died.Error(), []string{"order does not answer", "order-srv died at crash point order-srv@reserved", "bin/holdfast up", "audit --wait 60s"})
	gone := explain(t.Context(), stackDir(t, ""), errBroken)
	says(t, gone.Error(), []string{"order does not answer", "order-srv does not run: bin/holdfast up"}, "crash")
	if !errors.Is(died, errBroken) || !errors.Is(gone, errBroken) {
		t.Error("the cause is not in the error chain")
	}
	if got := explain(t.Context(), t.TempDir(), errBroken); got.Error() != errBroken.Error() {
		t.Errorf("without a stack: error %v", got)
	}
}

func TestPrintNext(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		dir, armed string
		want       []string
	}{
		"an ordinary shop": {stackDir(t, ""), "", []string{"order --sku MUG-CLASSIC"}},
		"armed":            {stackDir(t, crash.OrderRejected), "order-srv@rejected", []string{"--quantity 5000", "order-srv dies once", "bin/holdfast up"}},
		"needs another":    {stackDir(t, crash.OrderAbandoned), "order-srv@abandoned", []string{"inventory-srv dies at inventory-srv@committed"}},
		"other settings":   {stackDir(t, crash.OrderExpired), "order-srv@expired", []string{"PAYMENT_TIMEOUT is set to 10s"}},
		"repaired":         {stackDir(t, crash.OrderReserved, crash.OrderReserved), "", []string{"audit --wait 60s"}},
		"disarmed":         {stackDir(t, crash.OrderReserved), "", []string{"order --sku MUG-CLASSIC"}},
	} {
		var out bytes.Buffer
		if err := printNext(tt.dir, tt.armed, &out); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		says(t, out.String(), tt.want)
	}
}

func TestPrintHealing(t *testing.T) {
	t.Parallel()
	now := time.Now()
	healing := func(no string, at time.Time) check.Healing {
		return check.Healing{OrderNo: no, Healer: "check-back", Action: "abandoned", At: at}
	}
	r := check.Report{Healed: []check.Healing{healing("NEW", now.Add(time.Hour)), healing("OLD", now.Add(-time.Hour))}}
	text := func(dir string) string {
		var out bytes.Buffer
		if err := printHealing(&out, r, dir, book(t, "en")); err != nil {
			t.Error(err)
		}
		return out.String()
	}
	says(t, text(t.TempDir()), []string{"the check-back abandoned NEW", "the check-back abandoned OLD"}, "died")
	reached := stackDir(t, crash.OrderReserved, crash.OrderReserved)
	says(t, text(reached), []string{"order-srv died at", "must end as ABANDONED", "the check-back abandoned NEW"}, "OLD", "no backstop")
	r.Healed = r.Healed[1:]
	says(t, text(reached), []string{"no backstop has acted since"}, "OLD")
	says(t, text(stackDir(t, crash.OrderReserved)), []string{"OLD"}, "died", "no backstop")
}

func TestHealerAwaited(t *testing.T) {
	t.Parallel()
	healed := check.Report{Healed: []check.Healing{{OrderNo: "NEW", At: time.Now().Add(time.Hour)}}}
	before := check.Report{Healed: []check.Healing{{OrderNo: "OLD", At: time.Now().Add(-time.Hour)}}}
	for name, tt := range map[string]struct {
		dir  string
		r    check.Report
		want bool
	}{
		"no stack":           {t.TempDir(), before, false},
		"no crash point":     {stackDir(t, ""), before, false},
		"not reached":        {stackDir(t, crash.OrderPlaced), before, false},
		"reached":            {stackDir(t, crash.OrderPlaced, crash.OrderPlaced), before, true},
		"healed":             {stackDir(t, crash.OrderPlaced, crash.OrderPlaced), healed, false},
		"no healer expected": {stackDir(t, crash.InventoryConfirmed, crash.InventoryConfirmed), before, false},
	} {
		if got := healerAwaited(tt.dir)(tt.r); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// TestPrintHealing_first: the check-back acts before the point at which it dies, and after the point that leads there.
// Its action must be printed.
func TestPrintHealing_first(t *testing.T) {
	t.Parallel()
	dir := stackDir(t, crash.OrderAbandoned, crash.OrderAbandoned, crash.InventoryCommitted)
	now := time.Now()
	mark := crash.Mark(filepath.Join(dir, "crash", "marks"), crash.InventoryCommitted)
	if err := os.Chtimes(mark, now, now.Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	r := check.Report{Healed: []check.Healing{{OrderNo: "THE-ONE", At: now.Add(-time.Second)}}}
	if err := printHealing(&out, r, dir, book(t, "en")); err != nil {
		t.Fatal(err)
	}
	says(t, out.String(), []string{"THE-ONE"}, "no backstop")
}

func TestUp_crashNames(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "none")
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--dir", dir, "up", "--crash", "list"}, &out); err != nil {
		t.Error(err)
	}
	for _, p := range crash.List() {
		says(t, out.String(), []string{string(p.Point), p.Dies})
	}
	err := run(t.Context(), []string{"--dir", dir, "up", "--crash", "order-srv@lunch"}, &out)
	if e, ok := errors.AsType[exit](err); !ok || e.code != 2 || !strings.Contains(err.Error(), "order-srv@reserved") {
		t.Errorf("an unknown point: %v, want exit code 2 and the list", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("an unknown crash point started or wrote something")
	}
}
