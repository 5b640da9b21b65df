package compare

import (
	"bytes"
	"slices"
	"testing"
	"time"
)

// TestProgress: a pipe receives one line for each finished cell, a terminal one line that is overwritten.
func TestProgress(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		overwrite bool
		want      string
	}{
		"pipe": {false, "  1 of 4, 10s elapsed, 30s left  naive, hot (1): 100/s  BROKEN\n" +
			"  2 of 4, 20s elapsed, 20s left  optimistic, hot (1): 50/s\n"},
		"terminal": {true, "\r  0 of 4, 0s elapsed, ? left  naive, hot (1)\x1b[K" +
			"\r  1 of 4, 10s elapsed, 30s left  naive, hot (1): 100/s  BROKEN\x1b[K" +
			"\r  1 of 4, 10s elapsed, 30s left  optimistic, hot (1)\x1b[K" +
			"\r  2 of 4, 20s elapsed, 20s left  optimistic, hot (1): 50/s\x1b[K\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			p := newProgress(&out, 4)
			if p.overwrite {
				t.Error("a buffer is taken for a terminal")
			}
			now := p.begun
			p.overwrite, p.now = tt.overwrite, func() time.Time { return now }
			shape := Shape{Loop: Closed, Callers: 64, SKUs: 1, Replicas: 1}
			for _, c := range []Cell{{Strategy: "naive", Throughput: 100, Oversold: 1}, {Strategy: "optimistic", Throughput: 50}} {
				p.begin(c.Strategy, shape, 1)
				now = now.Add(10 * time.Second)
				p.done(c)
			}
			if err := p.end(); err != nil {
				t.Fatal(err)
			}
			want := bytes.ReplaceAll([]byte(tt.want), []byte("hot"), []byte(shape.String()))
			if !bytes.Equal(out.Bytes(), want) {
				t.Errorf("got\n%q\nwant\n%q", out.Bytes(), want)
			}
		})
	}
}

// TestChoose: the reference is always compared, and a strategy that does not exist is an error.
func TestChoose(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ names, want []string }{
		{[]string{"conditional"}, []string{Reference, "conditional"}},
		{[]string{Reference}, []string{Reference}},
		{[]string{"conditional", "no-such"}, nil},
	} {
		chosen, err := choose(tt.names, nil)
		var got []string
		for _, s := range chosen {
			got = append(got, s.Name)
		}
		slices.Sort(got)
		slices.Sort(tt.want)
		if !slices.Equal(got, tt.want) || (err == nil) != (tt.want != nil) {
			t.Errorf("%q: %q, error %v", tt.names, got, err)
		}
	}
	if all, err := choose(nil, nil); err != nil || len(all) < 8 {
		t.Errorf("without names: %v, error %v", all, err)
	}
}
