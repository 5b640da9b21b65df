package bench

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/load"
)

// TestCell_fill: every answer but a 201 in time is a failure, except a refusal, which the shop intends. The costs are
// divided by the orders that count.
func TestCell_fill(t *testing.T) {
	t.Parallel()
	var tally load.Tally
	for n, counter := range map[int64]interface{ Store(int64) }{
		50: &tally.Good, 7: &tally.Refused, 1: &tally.Late, 2: &tally.Pending, 4: &tally.SoldOut, 8: &tally.Unavailable, 16: &tally.Other, 32: &tally.Broken,
	} {
		counter.Store(n)
	}
	var got Cell
	got.fill(&tally, 2*time.Second, Counters{
		CPU: map[string]time.Duration{"order-srv": 5 * time.Millisecond}, Statements: 150, Commits: 100, Bytes: 5000, Redo: 2500, Messages: 75,
	})
	want := Cell{
		Orders: 50, Throughput: 25, Refused: 7, Failed: 63, CPU: map[string]float64{"order-srv": 100},
		Statements: 3, Commits: 2, Bytes: 100, Redo: 50, Messages: 1.5,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestCell_fill_noOrder: without an order the costs are those of the whole time, and a broker that does not count stays
// unknown.
func TestCell_fill_noOrder(t *testing.T) {
	t.Parallel()
	var got Cell
	got.fill(&load.Tally{}, time.Second, Counters{Statements: 12, Messages: -1})
	if diff := cmp.Diff(Cell{Statements: 12, Messages: -1, CPU: map[string]float64{}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCounters_Since(t *testing.T) {
	t.Parallel()
	before := Counters{
		CPU: map[string]time.Duration{"order-srv": time.Second, "gone": time.Second}, Statements: 10, Commits: 20, Bytes: 30, RowsRead: 40, Redo: 50, Messages: 60,
	}
	after := Counters{
		CPU: map[string]time.Duration{"order-srv": 3 * time.Second, "new": time.Second}, Statements: 11, Commits: 22, Bytes: 33, RowsRead: 44, Redo: 55, Messages: 66,
	}
	want := Counters{
		CPU: map[string]time.Duration{"order-srv": 2 * time.Second, "new": time.Second}, Statements: 1, Commits: 2, Bytes: 3, RowsRead: 4, Redo: 5, Messages: 6,
	}
	if diff := cmp.Diff(want, after.Since(before)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, unknown := range []*Counters{&before, &after} { // a broker that does not answer once
		counted := unknown.Messages
		unknown.Messages = -1
		if got := after.Since(before).Messages; got != -1 {
			t.Errorf("%d messages since %d: %d, want unknown", after.Messages, before.Messages, got)
		}
		unknown.Messages = counted
	}
}

// TestMeter_Read: a meter without a database reads the processes. One that has ended is an error, not a process that
// costs nothing.
func TestMeter_Read(t *testing.T) {
	t.Parallel()
	got, err := Meter{PIDs: map[string]int{"self": os.Getpid()}}.Read(t.Context())
	if err != nil || got.Messages != -1 || len(got.CPU) != 2 {
		t.Errorf("read %+v, error %v", got, err)
	}
	ended := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	got, err = Meter{PIDs: map[string]int{"ended": ended.Process.Pid}}.Read(t.Context())
	if err == nil {
		t.Errorf("read %v of a process that has ended", got.CPU)
	}
}
