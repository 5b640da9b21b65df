package leasecheck_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/dev/leasecheck"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/pkg/lock"
)

// TestMutexModel_FaultFree: as long as nothing goes wrong, a lease is as good as a mutex.
func TestMutexModel_FaultFree(t *testing.T) {
	t.Parallel()
	b := leasecheck.NewBench(t, leasecheck.Real(), stacktest.Redis(t))
	var holds []leasecheck.Hold
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 3 {
		locker := b.Locker(lock.WithTTL(time.Minute))
		for range 3 {
			all.Go(func() {
				for range 20 {
					h := leasecheck.Hold{Asked: leasecheck.Now()}
					lease, err := locker.Acquire(leasecheck.Within(t), "k")
					if err != nil {
						t.Error(err)
						return
					}
					h.Got = leasecheck.Now()
					h.Left = leasecheck.Now()
					if err := lease.Release(t.Context()); err != nil {
						t.Error(err)
					}
					h.Gone = leasecheck.Now()
					mu.Lock()
					holds = append(holds, h)
					mu.Unlock()
				}
			})
		}
	}
	all.Wait()
	if err := leasecheck.CheckMutex(holds); err != nil || len(holds) != 180 {
		t.Errorf("%d holds: %v", len(holds), err)
	}
}

// TestMutexModel_Expiry: a lease is not a mutex. A holder that does not look at the clock, or cannot, believes in it
// for longer than it lasts, and then two believe at once. No lock service can help that; the resource's fence must.
func TestMutexModel_Expiry(t *testing.T) {
	t.Parallel()
	const ttl = 300 * time.Millisecond
	b := leasecheck.NewBench(t, leasecheck.Real(), stacktest.Redis(t))
	holder, other := b.Locker(lock.WithTTL(ttl), lock.WithMaxHold(ttl)), b.Locker()
	var first, second leasecheck.Hold

	first.Asked = leasecheck.Now()
	slept := b.Acquire(holder, "k")
	first.Got = leasecheck.Now()

	second.Asked = leasecheck.Now()
	lease := b.Acquire(other, "k") // when the key has expired
	second.Got = leasecheck.Now()

	first.Left = leasecheck.Now() // only now does it wake up
	_ = slept.Release(t.Context())
	first.Gone = leasecheck.Now()

	second.Left = leasecheck.Now()
	if err := lease.Release(t.Context()); err != nil {
		t.Errorf("the second holder's release: %v", err)
	}
	second.Gone = leasecheck.Now()

	if err := leasecheck.CheckMutex([]leasecheck.Hold{first, second}); err == nil {
		t.Error("the mutex model accepts two holders at once")
	}
	if slept.Token("k") >= lease.Token("k") {
		t.Errorf("the tokens %d and %d do not tell which lease is over", slept.Token("k"), lease.Token("k"))
	}
}

func TestCheckFenced(t *testing.T) {
	t.Parallel()
	// op is one that lasts from call to call+1 and takes 1.
	op := func(o leasecheck.Outcome, call, token, left int64) leasecheck.Op {
		return leasecheck.Op{Outcome: o, Call: call, Return: call + 1, Token: token, Quantity: 1, Left: left}
	}
	during := func(op leasecheck.Op, call, end int64) leasecheck.Op {
		op.Call, op.Return = call, end
		return op
	}
	const accepted, stale, soldOut, nothing, unknown = leasecheck.Accepted, leasecheck.Stale, leasecheck.SoldOut, leasecheck.Nothing, leasecheck.Unknown
	for name, tc := range map[string]struct {
		ops  []leasecheck.Op
		to   leasecheck.Row // from {0, 2}
		fits bool
	}{
		"nothing happened":           {nil, leasecheck.Row{Fence: 0, Stock: 2}, true},
		"two in order":               {[]leasecheck.Op{op(accepted, 1, 1, 1), op(accepted, 3, 2, 0)}, leasecheck.Row{Fence: 2}, true},
		"a gap in the tokens":        {[]leasecheck.Op{op(accepted, 1, 1, 1), op(accepted, 3, 7, 0)}, leasecheck.Row{Fence: 7}, true},
		"at the same time":           {[]leasecheck.Op{during(op(accepted, 0, 2, 0), 1, 9), op(accepted, 3, 1, 1)}, leasecheck.Row{Fence: 2}, true},
		"stale after a newer":        {[]leasecheck.Op{op(accepted, 1, 5, 1), op(stale, 3, 4, 0)}, leasecheck.Row{Fence: 5, Stock: 1}, true},
		"stale with the same token":  {[]leasecheck.Op{op(accepted, 1, 5, 1), op(stale, 3, 5, 0)}, leasecheck.Row{Fence: 5, Stock: 1}, true},
		"sold out":                   {[]leasecheck.Op{op(accepted, 1, 1, 1), op(accepted, 3, 2, 0), op(soldOut, 5, 3, 0)}, leasecheck.Row{Fence: 2}, true},
		"unknown that happened":      {[]leasecheck.Op{op(unknown, 1, 1, 0)}, leasecheck.Row{Fence: 1, Stock: 1}, true},
		"unknown that did not":       {[]leasecheck.Op{op(unknown, 1, 1, 0)}, leasecheck.Row{Stock: 2}, true},
		"unknown that happens later": {[]leasecheck.Op{op(unknown, 1, 2, 0), op(accepted, 5, 1, 1)}, leasecheck.Row{Fence: 2}, true},
		"nothing is nothing":         {[]leasecheck.Op{op(nothing, 1, 9, 0)}, leasecheck.Row{Stock: 2}, true},

		"lost update":             {[]leasecheck.Op{op(accepted, 1, 1, 1), op(accepted, 3, 2, 1)}, leasecheck.Row{Fence: 2, Stock: 1}, false},
		"lost update, at once":    {[]leasecheck.Op{during(op(accepted, 0, 1, 1), 1, 9), during(op(accepted, 0, 2, 1), 1, 9)}, leasecheck.Row{Fence: 2, Stock: 1}, false},
		"older token accepted":    {[]leasecheck.Op{op(accepted, 1, 2, 1), op(accepted, 3, 1, 0)}, leasecheck.Row{Fence: 1}, false},
		"same token accepted":     {[]leasecheck.Op{op(accepted, 1, 1, 1), op(accepted, 3, 1, 0)}, leasecheck.Row{Fence: 1}, false},
		"refused without reason":  {[]leasecheck.Op{op(accepted, 1, 1, 1), op(stale, 3, 2, 0)}, leasecheck.Row{Fence: 1, Stock: 1}, false},
		"sold out with stock":     {[]leasecheck.Op{op(soldOut, 1, 1, 0)}, leasecheck.Row{Stock: 2}, false},
		"accepted and not done":   {[]leasecheck.Op{op(accepted, 1, 1, 1)}, leasecheck.Row{Stock: 2}, false},
		"done and not accepted":   {[]leasecheck.Op{op(nothing, 1, 1, 1)}, leasecheck.Row{Fence: 1, Stock: 1}, false},
		"stock went below zero":   {[]leasecheck.Op{{Outcome: accepted, Call: 1, Return: 2, Token: 1, Quantity: 3, Left: -1}}, leasecheck.Row{Fence: 1, Stock: -1}, false},
		"unknown happened twice":  {[]leasecheck.Op{op(unknown, 1, 1, 0)}, leasecheck.Row{Fence: 1, Stock: 0}, false},
		"before it was asked for": {[]leasecheck.Op{op(stale, 1, 1, 0), op(accepted, 5, 2, 1)}, leasecheck.Row{Fence: 2, Stock: 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := leasecheck.CheckFenced(tc.ops, leasecheck.Row{Stock: 2}, tc.to); err == nil != tc.fits {
				t.Errorf("verdict %v, want it to fit: %v", err, tc.fits)
			}
		})
	}
}

func TestCheckLedger(t *testing.T) {
	t.Parallel()
	ops := []leasecheck.Op{
		{ID: "a", Outcome: leasecheck.Accepted, Quantity: 2},
		{ID: "u", Outcome: leasecheck.Unknown, Quantity: 1},
		{ID: "s", Outcome: leasecheck.Stale, Quantity: 1},
		{ID: "n", Outcome: leasecheck.Nothing, Quantity: 1},
	}
	for name, tc := range map[string]struct {
		sold map[string]int64
		down int64
		want string // in the error; empty: none
	}{
		"as told":                {map[string]int64{"a": 2}, 2, ""},
		"unknown was committed":  {map[string]int64{"a": 2, "u": 1}, 3, ""},
		"lost update":            {map[string]int64{"a": 2, "u": 1}, 2, "3 were taken, but the stock went down by 2"},
		"accepted is missing":    {map[string]int64{}, 0, "a took 2 and was accepted"},
		"stale was committed":    {map[string]int64{"a": 2, "s": 1}, 3, `s was told "stale"`},
		"nothing was committed":  {map[string]int64{"a": 2, "n": 1}, 3, `n was told "nothing"`},
		"somebody nobody knows":  {map[string]int64{"a": 2, "x": 1}, 3, "x is in the ledger"},
		"accepted for less":      {map[string]int64{"a": 1}, 1, "the ledger has 1"},
		"taken without a ledger": {map[string]int64{"a": 2}, 5, "the stock went down by 5"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := leasecheck.CheckLedger(ops, tc.sold, tc.down)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// TestRead: a journal that its writer's death cut short says what is unknown.
func TestRead(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	j := leasecheck.NewJournal(&text)
	op := leasecheck.Op{ID: "1", Key: "a", Token: 1, Quantity: 1, Call: 5}
	j.Begin(op)
	op.Outcome, op.Return = leasecheck.Accepted, 6
	j.End(op)
	j.Note(leasecheck.NoteRaised)
	j.Begin(leasecheck.Op{ID: "2", Key: "a", Call: 7})
	j.Begin(leasecheck.Op{ID: "2", Key: "b", Call: 7})
	j.End(leasecheck.Op{ID: "2", Key: "b", Call: 7, Return: 8, Outcome: leasecheck.Stale})
	text.WriteString(`{"End":{"ID":"2","Key":"a"`)
	h, err := leasecheck.Read(&text)
	if err != nil {
		t.Fatal(err)
	}
	if h.Count(leasecheck.Accepted) != 1 || h.Count(leasecheck.Unknown) != 1 || h.Count(leasecheck.Stale) != 1 || len(h.Of("a")) != 2 ||
		h.Events[leasecheck.NoteRaised] != 1 {
		t.Errorf("history is %+v", h)
	}
	if _, err := leasecheck.Read(strings.NewReader("what?\n")); err == nil {
		t.Error("a line that is none was read")
	}
}
