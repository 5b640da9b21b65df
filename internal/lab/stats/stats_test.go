package stats_test

import (
	"slices"
	"testing"

	"holdfast/internal/lab/stats"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{7}, 7},
		{[]float64{3, 1, 2}, 2},
		{[]float64{4, 1, 2, 3}, 2.5},
	} {
		given := slices.Clone(tt.values)
		if got := stats.Median(given); got != tt.want || !slices.Equal(given, tt.values) {
			t.Errorf("the median of %v is %v and leaves %v, want %v", tt.values, got, given, tt.want)
		}
	}
}

func TestDistinct(t *testing.T) {
	t.Parallel()
	length := func(s string) int { return len(s) }
	if got := stats.Distinct([]string{"bb", "a", "cc", "ddd", "e"}, length); !slices.Equal(got, []int{2, 1, 3}) {
		t.Errorf("got %v", got)
	}
	if got := stats.Distinct(nil, length); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}
