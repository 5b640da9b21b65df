package main

import (
	"bytes"
	"io"
	"sync"
)

// turns prints the texts of several writers one after the other, whichever of them writes first. The writer whose turn
// it is writes straight to out; what a later one writes is kept until all before it have ended.
type turns struct {
	out io.Writer

	mu    sync.Mutex
	now   int            // whose turn it is
	kept  []bytes.Buffer // of those whose turn comes later
	ended []bool
}

func newTurns(out io.Writer, writers int) *turns {
	return &turns{out: out, kept: make([]bytes.Buffer, writers), ended: make([]bool, writers)}
}

// turn is one of the writers.
type turn struct {
	of *turns
	i  int
}

// Write implements io.Writer.
func (t turn) Write(p []byte) (int, error) {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	if t.i == t.of.now {
		return t.of.out.Write(p)
	}
	return t.of.kept[t.i].Write(p)
}

// end says that the writer writes no more. The next one's kept text is printed, and those of all that have ended too.
func (t turn) end() error {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	t.of.ended[t.i] = true
	for t.of.now < len(t.of.ended) && t.of.ended[t.of.now] {
		t.of.now++
		if t.of.now == len(t.of.kept) {
			return nil
		}
		if _, err := t.of.kept[t.of.now].WriteTo(t.of.out); err != nil {
			return err
		}
	}
	return nil
}
