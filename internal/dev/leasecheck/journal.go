package leasecheck

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
)

// Outcome is the answer to a client's deduction.
type Outcome string

// The outcomes. An operation whose client died, or whose COMMIT got no answer, is Unknown; Nothing is a transaction
// that certainly was not committed, for no reason that the row gave.
const (
	Accepted Outcome = "accepted"
	Stale    Outcome = "stale"
	SoldOut  Outcome = "sold out"
	Nothing  Outcome = "nothing"
	Unknown  Outcome = "unknown"
	seen     Outcome = "seen" // not a deduction: a client read the row
)

// never is the return of an operation whose effect may come at any later time.
const never = math.MaxInt64

// Op is one key's part of a deduction. Times are nanoseconds of a clock that all processes of a machine share.
type Op struct {
	ID           string
	Key          string
	Token        int64
	Quantity     int64
	Call, Return int64
	Outcome      Outcome
	Left         int64 `json:",omitempty"` // of an accepted one
}

// Journal is where clients write what they are about to do and what came of it, a line each. A line is in the file
// before the call goes on, so that it outlives a client that is killed.
type Journal struct {
	mu sync.Mutex
	w  io.Writer
}

// NewJournal returns one that writes to w.
func NewJournal(w io.Writer) *Journal { return &Journal{w: w} }

type line struct {
	Begin *Op    `json:",omitempty"`
	End   *Op    `json:",omitempty"`
	Event string `json:",omitempty"`
}

// Begin is called before the first statement of op.
func (j *Journal) Begin(op Op) { j.write(line{Begin: &op}) }

// End is called when the client knows what came of op.
func (j *Journal) End(op Op) { j.write(line{End: &op}) }

// Note counts something that happened.
func (j *Journal) Note(event string) { j.write(line{Event: event}) }

func (j *Journal) write(l line) {
	text, err := json.Marshal(l)
	if err != nil {
		panic(err) // a struct of strings and numbers
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.w.Write(append(text, '\n')); err != nil {
		panic(fmt.Sprintf("leasecheck: the journal cannot be written: %v", err)) // a history with holes proves nothing
	}
}

// History is what journals say.
type History struct {
	Ops    []Op
	Events map[string]int
}

// Read reads one journal, or several one after the other. An operation that has no end is Unknown. A last line that was
// cut off is not read.
func Read(r io.Reader) (History, error) {
	h := History{Events: map[string]int{}}
	open := map[string]Op{}
	lines := bufio.NewReader(r)
	for {
		text, err := lines.ReadString('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			return h, err
		}
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			return h, fmt.Errorf("journal line %q: %w", strings.TrimSpace(text), err)
		}
		switch {
		case l.Begin != nil:
			open[l.Begin.ID+" "+l.Begin.Key] = *l.Begin
		case l.End != nil:
			delete(open, l.End.ID+" "+l.End.Key)
			h.Ops = append(h.Ops, *l.End)
		default:
			h.Events[l.Event]++
		}
	}
	for _, op := range slices.Collect(maps.Values(open)) {
		op.Outcome = Unknown
		h.Ops = append(h.Ops, op)
	}
	return h, nil
}

// Of returns the operations on one key.
func (h History) Of(key string) []Op {
	return slices.DeleteFunc(slices.Clone(h.Ops), func(op Op) bool { return op.Key != key })
}

// Count returns how many operations had an outcome.
func (h History) Count(o Outcome) int {
	n := 0
	for _, op := range h.Ops {
		if op.Outcome == o {
			n++
		}
	}
	return n
}
