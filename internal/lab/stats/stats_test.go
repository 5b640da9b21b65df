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
