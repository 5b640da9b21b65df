package events

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPartial_bounded forgets the oldest messages, and what it has forgotten is retried as a whole.
func TestPartial_bounded(t *testing.T) {
	t.Parallel()
	p := newPartial(4)
	for n := range 6 {
		p.add(fmt.Sprint("m", n), []string{"A", "B"})
	}
	if p.size != 4 || len(p.ids) != 2 || len(p.ended) != 2 {
		t.Errorf("%d orders of %d messages, %v", p.size, len(p.ended), p.ids)
	}
	if diff := cmp.Diff([]string{"A", "B", "C"}, p.left("m3", []string{"A", "B", "C"})); diff != "" {
		t.Errorf("of a forgotten message (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"C"}, p.left("m5", []string{"A", "B", "C"})); diff != "" {
		t.Errorf("of a message that failed in part (-want +got):\n%s", diff)
	}
	p.forget("m5")
	p.forget("m4")
	p.forget("unknown")
	if p.size != 0 || len(p.ids) != 0 {
		t.Errorf("%d orders, %v after all messages have ended", p.size, p.ids)
	}
	p.add("", []string{"A"})
	if p.size != 0 {
		t.Error("a message without an id is remembered")
	}
}
