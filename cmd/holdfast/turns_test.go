package main

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
)

func TestTurns(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	all := newTurns(&out, 3)
	write := func(i int, text, want string) {
		t.Helper()
		fmt.Fprint(turn{all, i}, text)
		if out.String() != want {
			t.Errorf("after %q of writer %d: %q, want %q", text, i, out.String(), want)
		}
	}
	end := func(i int, want string) {
		t.Helper()
		if err := (turn{all, i}).end(); err != nil || out.String() != want {
			t.Errorf("after the end of writer %d: %q, error %v, want %q", i, out.String(), err, want)
		}
	}
	write(2, "c1 ", "")
	write(0, "a1 ", "a1 ") // its turn: at once
	write(1, "b1 ", "a1 ")
	end(1, "a1 ") // not before writer 0 has ended
	write(0, "a2 ", "a1 a2 ")
	end(0, "a1 a2 b1 c1 ") // writer 2 has its turn, and has not ended
	write(2, "c2", "a1 a2 b1 c1 c2")
	end(2, "a1 a2 b1 c1 c2")
}

func TestTurns_concurrent(t *testing.T) {
	t.Parallel()
	var out, want bytes.Buffer
	all := newTurns(&out, 20)
	var writers sync.WaitGroup
	for i := range 20 {
		for line := range 10 {
			fmt.Fprintln(&want, i, line)
		}
		writers.Go(func() {
			for line := range 10 {
				fmt.Fprintln(turn{all, i}, i, line)
			}
			if err := (turn{all, i}).end(); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	if out.String() != want.String() {
		t.Errorf("printed out of order:\n%s", out.String())
	}
}
