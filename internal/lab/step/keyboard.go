package step

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

// Keyboard is the Pacer of a reader at a terminal, or of a file with what he would type. An empty line executes the
// step, a letter from a on chooses one of its answers, a number replays the scene to the step, and q stops.
type Keyboard struct {
	in    io.Reader
	once  sync.Once
	lines chan string // closed at the end of the input
}

var _ Pacer = (*Keyboard)(nil)

// NewKeyboard returns the pacer that reads in. It reads no line before the first step.
func NewKeyboard(in io.Reader) *Keyboard { return &Keyboard{in: in, lines: make(chan string)} }

// read passes the lines on. A read of a terminal cannot be interrupted, so this ends with the input or the process.
func (k *Keyboard) read() {
	defer close(k.lines)
	for lines := bufio.NewScanner(k.in); lines.Scan(); {
		k.lines <- lines.Text()
	}
}

// Next implements Pacer.
func (k *Keyboard) Next(ctx context.Context, next Event) (Move, error) {
	k.once.Do(func() { go k.read() })
	select {
	case line, ok := <-k.lines:
		if !ok {
			return Move{}, fmt.Errorf("%w before step %d.%d: the input has ended", ErrStopped, next.Scene, next.Step)
		}
		return moveOf(strings.TrimSpace(line), next)
	case <-ctx.Done():
		return Move{}, ctx.Err()
	}
}

func moveOf(line string, next Event) (Move, error) {
	switch line {
	case "":
		return Move{}, nil
	case "q":
		return Move{}, fmt.Errorf("%w before step %d.%d", ErrStopped, next.Scene, next.Step)
	}
	if len(line) == 1 && line[0] >= 'a' && int(line[0]-'a') < len(next.Choices) {
		return Move{Choice: int(line[0]-'a') + 1}, nil
	}
	n, err := strconv.Atoi(line)
	if err != nil || n < 1 {
		return Move{Unknown: true}, nil
	}
	return Move{ReplayTo: n}, nil
}
