package batch_test

import (
	"testing"
	"time"

	"holdfast/pkg/batch"
)

func TestPace(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	p := batch.NewPace(64, 500, 200*ms)
	for _, step := range []struct {
		n    int
		took time.Duration
		want int
	}{
		{64, 99 * ms, 128},
		{63, 10 * time.Second, 128}, // too few items to say anything
		{128, 150 * ms, 128},        // near the time
		{128, 10 * ms, 256},
		{256, 10 * ms, 500}, // never above most
		{500, 1000 * ms, 100},
		{100, time.Hour, 1},
		{1, ms, 2},
	} {
		if p.Note(step.n, step.took); p.Limit() != step.want {
			t.Errorf("after %d items in %v the limit is %d, want %d", step.n, step.took, p.Limit(), step.want)
		}
	}
}
