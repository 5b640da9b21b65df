package compare

import (
	"fmt"
	"io"
	"os"
	"time"

	"holdfast/internal/dev/terminal"
)

// progress reports the cells of a run. On a terminal it is a line that is overwritten, in a file or a pipe one line for
// each finished cell.
type progress struct {
	w         io.Writer
	overwrite bool
	now       func() time.Time
	begun     time.Time
	n, of     int
	current   string
	err       error
}

func newProgress(w io.Writer, cells int) *progress {
	if w == nil {
		w = io.Discard
	}
	return &progress{w: w, overwrite: terminal.Overwrites(w, os.Getenv), now: time.Now, begun: time.Now(), of: cells}
}

func (p *progress) begin(strategy string, shape Shape, repetition int) {
	p.current = fmt.Sprintf("%s, %s (%d)", strategy, shape, repetition)
	if p.overwrite {
		p.show("")
	}
}

func (p *progress) done(c Cell) {
	p.n++
	broken := ""
	if c.Broken() {
		broken = "  BROKEN"
	}
	p.show(fmt.Sprintf(": %.0f/s%s", c.Throughput, broken))
}

// show writes the line. \x1b[K erases the rest of the previous one.
func (p *progress) show(outcome string) {
	elapsed := p.now().Sub(p.begun)
	left := "?"
	if p.n > 0 {
		left = (elapsed / time.Duration(p.n) * time.Duration(p.of-p.n)).Round(time.Second).String()
	}
	format := "%s\n"
	if p.overwrite {
		format = "\r%s\x1b[K"
	}
	_, err := fmt.Fprintf(p.w, format,
		fmt.Sprintf("%3d of %d, %v elapsed, %s left  %s%s", p.n, p.of, elapsed.Round(time.Second), left, p.current, outcome))
	if p.err == nil {
		p.err = err
	}
}

// end closes the line and returns the first write error.
func (p *progress) end() error {
	if p.overwrite {
		fmt.Fprintln(p.w)
	}
	return p.err
}
