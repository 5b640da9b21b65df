package flow

import (
	"slices"
	"testing"
	"time"
)

// TestReminders: what is found each second is logged at once, and then after pauses that double up to 10 minutes. Each
// subject has its own pauses, and one that was gone for long is new.
func TestReminders(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	r := newReminders(func() time.Time { return now })
	const hours = 2 * 60 * 60
	var lines []int // seconds
	for second := range hours {
		if r.due("A") {
			lines = append(lines, second)
		}
		if due := r.due("B"); second == 0 && !due || second == 1 && due {
			t.Errorf("second %d: B is logged: %v", second, due)
		}
		now = now.Add(time.Second)
	}
	want := []int{0, 10, 30, 70, 150, 310, 630}
	for next := 630 + 600; next < hours; next += 600 {
		want = append(want, next)
	}
	if !slices.Equal(lines, want) {
		t.Errorf("logged in the seconds %v, want %v", lines, want)
	}
	now = now.Add(lastReminder + time.Second)
	if !r.due("A") || len(r.subjects) != 1 {
		t.Errorf("after a long time: subjects %v; want A alone, as if it were new", r.subjects)
	}
	now = now.Add(firstReminder)
	if !r.due("A") {
		t.Error("the second line about A does not come after the first pause")
	}
}
