package compare

import (
	"fmt"
	"io"
	"time"
)

// progress is a line that is overwritten.
type progress struct {
	w       io.Writer
	begun   time.Time
	n, of   int
	current string
	err     error
}

func newProgress(w io.Writer, cells int) *progress {
	if w == nil {
		w = io.Discard
	}
	return &progress{w: w, begun: time.Now(), of: cells}
}

func (p *progress) begin(strategy string, shape Shape, repetition int) {
	p.current = fmt.Sprintf("%s, %s (%d)", strategy, shape, repetition)
	p.show("")
}

func (p *progress) done(c Cell) {
	p.n++
	broken := ""
	if c.Broken() {
		broken = "  BROKEN"
	}
	p.show(fmt.Sprintf(": %.0f/s%s", c.Throughput, broken))
}

// show overwrites the line. \x1b[K erases the rest of the previous one.
func (p *progress) show(outcome string) {
	left := "?"
	if p.n > 0 {
		left = (time.Since(p.begun) / time.Duration(p.n) * time.Duration(p.of-p.n)).Round(time.Second).String()
	}
	_, err := fmt.Fprintf(p.w, "\r%3d of %d, %s left  %s%s\x1b[K", p.n, p.of, left, p.current, outcome)
	if p.err == nil {
		p.err = err
	}
}

// end closes the line and returns the first write error.
func (p *progress) end() error {
	fmt.Fprintln(p.w)
	return p.err
}
