package notify_test

import (
	"slices"
	"testing"
	"time"

	"holdfast/order-srv/internal/notify"
)

func TestDelays(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		want notify.Delays // nil: refused
	}{
		{"1s,5s,30s,5m,1h,6h,24h", notify.DefaultDelays()},
		{"1", notify.DefaultDelays()},
		{"0.01", notify.Delays{10 * time.Millisecond, 50 * time.Millisecond, 300 * time.Millisecond, 3 * time.Second, 36 * time.Second, 216 * time.Second, 864 * time.Second}},
		{"100ms, 2s", notify.Delays{100 * time.Millisecond, 2 * time.Second}},
		{"0", nil},
		{"-1", nil},
		{"NaN", nil},
		{"1e300", nil},
		{"0.0001", nil},
		{"1s,,2s", nil},
		{"0s", nil},
		{"soon", nil},
		{"60h,60h,1ms", nil},
		{"1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s", nil},
	}
	for _, tt := range tests {
		var got notify.Delays
		err := got.UnmarshalText([]byte(tt.text))
		if tt.want == nil && err == nil {
			t.Errorf("%q is %v, want an error", tt.text, got)
		}
		if tt.want != nil && (err != nil || !slices.Equal(got, tt.want)) {
			t.Errorf("%q is %v, error %v; want %v", tt.text, got, err, tt.want)
		}
	}
}
