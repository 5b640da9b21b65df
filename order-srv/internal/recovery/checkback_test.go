package recovery_test

import (
	stdcmp "cmp"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/recovery"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/mq"
)

const grace = 10 * time.Second

// begun inserts an order that no request places.
func (w *world) begun(old bool) string {
	w.t.Helper()
	no := w.pending()
	if old {
		w.Age(no, time.Minute)
	}
	return no
}

func (w *world) rejected() string {
	w.t.Helper()
	no := w.begun(false)
	if _, err := ordertest.Reject(w.t.Context(), w.Orders, no, store.Rejection{Refusal: order.ErrBrokerUnavailable, FreeKey: true}); err != nil {
		w.t.Fatal(err)
	}
	return no
}

func (w *world) abandoned() string {
	w.t.Helper()
	no := w.begun(true)
	if n, err := w.Orders.Abandon(w.t.Context(), []string{no}, 0, false, store.Sweeper); err != nil || n != 1 {
		w.t.Fatalf("abandoned %d, error %v", n, err)
	}
	return no
}

// absent makes the number of an order that was never inserted.
func absent(old bool) string {
	at := time.Now()
	if old {
		at = at.Add(-time.Minute)
	}
	return ulid.MustNew(ulid.Timestamp(at), ulid.DefaultEntropy()).String()
}

func TestCheckBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	young, old := func() string { return w.begun(false) }, func() string { return w.begun(true) }
	never, notYet := func() string { return absent(true) }, func() string { return absent(false) }
	tests := []struct {
		name   string
		orders []func() string
		want   mq.TxState
		healed float64
	}{
		{"pending and young", []func() string{young}, mq.TxUnknown, 0},
		{"pending and old", []func() string{old}, mq.TxCommit, 1},
		{"abandoned before", []func() string{w.abandoned}, mq.TxCommit, 0},
		{"placed", []func() string{w.placed}, mq.TxRollback, 0},
		{"rejected", []func() string{w.rejected}, mq.TxRollback, 0},
		{"no row, young", []func() string{notYet}, mq.TxUnknown, 0},
		{"no row, old", []func() string{never}, mq.TxCommit, 0},
		{"group: all old", []func() string{old, old}, mq.TxCommit, 2},
		{"group: one placed, one never inserted", []func() string{w.placed, never}, mq.TxRollback, 0},
		{"group: one rejected, one old", []func() string{w.rejected, old}, mq.TxRollback, 1},
		{"group: one placed, one young", []func() string{w.placed, young}, mq.TxUnknown, 0},
		{"group: one abandoned, one not yet inserted", []func() string{w.abandoned, notYet}, mq.TxUnknown, 0},
	}
	for _, tt := range tests { // one after another: they share the counter
		var orderNos []string
		for _, make := range tt.orders {
			orderNos = append(orderNos, make())
		}
		before := w.count("check-back")
		for range 2 { // the broker may ask twice
			if got := w.check(grace, orderNos...); got != tt.want {
				t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
			}
		}
		if got := w.count("check-back") - before; got != tt.healed {
			t.Errorf("%s: healed %v, want %v", tt.name, got, tt.healed)
		}
	}
}

// TestCheckBack_group: rolled back for another order's sake, the message does not give back what the abandoned one
// holds; the outbox does.
func TestCheckBack_group(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.check(grace, w.rejected(), w.begun(true))
	if diff := cmp.Diff([]string{"release-abandoned"}, w.Events()); diff != "" {
		t.Errorf("outbox (-want +got):\n%s", diff)
	}
}

// TestCheckBack_unreadable: a half message that cannot be read stays undecided, and the others of its batch do not.
func TestCheckBack_unreadable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.newCheckBack(recovery.CheckBackConfig{})
	bodies := []string{"", "{", `{"orders":[]}`, `{"orders":["` + w.rejected() + `"]}`}
	for _, body := range bodies {
		c.Check(mq.Message{ID: body, Body: []byte(body)})
	}
	w.read(c)
	for i, body := range bodies {
		want := mq.TxUnknown
		if i == len(bodies)-1 {
			want = mq.TxRollback
		}
		if got := c.Check(mq.Message{ID: body, Body: []byte(body)}); got != want {
			t.Errorf("%q: %s, want %s", body, got, want)
		}
	}
}

// TestCheckBack_memory: the memory is bounded, an answer is given once and makes room, and what was not admitted is
// read after that.
func TestCheckBack_memory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.newCheckBack(recovery.CheckBackConfig{Memory: 2})
	orders := []string{w.rejected(), w.rejected(), w.rejected()}
	scan := func(want ...mq.TxState) {
		t.Helper()
		var got []mq.TxState
		for _, no := range orders {
			got = append(got, c.Check(ordertest.HalfOf(no)))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("answers (-want +got):\n%s", diff)
		}
		w.read(c)
	}
	scan(mq.TxUnknown, mq.TxUnknown, mq.TxUnknown)   // the third is not admitted
	scan(mq.TxRollback, mq.TxRollback, mq.TxUnknown) // the third has room now
	scan(mq.TxUnknown, mq.TxUnknown, mq.TxRollback)  // the ends of the first two were lost; there is room for one of them
	scan(mq.TxRollback, mq.TxUnknown, mq.TxUnknown)
}

// TestCheckBack_otherReplica: an answer that another replica gave does not stay in the memory.
func TestCheckBack_otherReplica(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const interval = 5 * time.Second
	c := w.newCheckBack(recovery.CheckBackConfig{Memory: 1, Interval: interval})
	given, waits := ordertest.HalfOf(w.rejected()), ordertest.HalfOf(w.rejected())
	now := time.Now()
	c.CheckAt(given, now)
	w.read(c)
	var states []mq.TxState
	for range 6 {
		now = now.Add(interval)
		states = append(states, c.CheckAt(waits, now))
		c.Sweep(now)
		w.read(c)
	}
	// The answer is kept for three scans; in the fourth it is dropped, in the fifth there is room.
	want := []mq.TxState{mq.TxUnknown, mq.TxUnknown, mq.TxUnknown, mq.TxUnknown, mq.TxUnknown, mq.TxRollback}
	if diff := cmp.Diff(want, states); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}

// TestCheckBack_Undecided counts each half message once, with the age of the oldest, until it is answered.
func TestCheckBack_Undecided(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.newCheckBack(recovery.CheckBackConfig{Interval: time.Hour})
	decided, open := ordertest.HalfOf(w.rejected()), ordertest.HalfOf(w.begun(false))
	open.SentAt = time.Now().Add(-time.Minute)
	want := func(n int, atLeast time.Duration) {
		t.Helper()
		if got, oldest := c.Undecided(); got != n || oldest < atLeast || oldest > atLeast+10*time.Second {
			t.Errorf("%d undecided, the oldest %v; want %d, %v", got, oldest, n, atLeast)
		}
	}
	want(0, 0)
	for range 2 {
		c.Check(decided)
		c.Check(open)
		w.read(c)
	}
	want(1, time.Minute)
	if got := c.Check(open); got != mq.TxUnknown {
		t.Errorf("an order that is being placed: %s", got)
	}
}

// TestCheckBack_databaseGone: what could not be read is not remembered, and is read at the next question.
func TestCheckBack_databaseGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.newCheckBack(recovery.CheckBackConfig{Memory: 1})
	m := ordertest.HalfOf(w.rejected())
	c.Check(m)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	c.ReadNext(gone)
	if got := c.Check(m); got != mq.TxUnknown {
		t.Errorf("answered %s without having read", got)
	}
	w.read(c)
	if got := c.Check(m); got != mq.TxRollback {
		t.Errorf("%s, want rollback", got)
	}
}

// newCheckBack returns a check-back on the world's database, with defaults for what c leaves open. It reads when
// [world.read] is called.
func (w *world) newCheckBack(c recovery.CheckBackConfig) *recovery.CheckBack {
	c.Store, c.Healed, c.Log = w.Orders, w.healed.WithLabelValues(string(store.CheckBack)), slog.New(slog.DiscardHandler)
	c.Grace = stdcmp.Or(c.Grace, grace)
	c.Interval = stdcmp.Or(c.Interval, time.Hour)
	return recovery.NewCheckBack(c)
}

func (w *world) read(c *recovery.CheckBack) {
	w.t.Helper()
	for c.ReadNext(w.t.Context()) {
	}
}

// check asks about a half message twice. The check-back reads it in between.
func (w *world) check(grace time.Duration, orderNos ...string) mq.TxState {
	w.t.Helper()
	c := w.newCheckBack(recovery.CheckBackConfig{Grace: grace})
	if got := c.Check(ordertest.HalfOf(orderNos...)); got != mq.TxUnknown {
		w.t.Errorf("answered %s before it has read anything", got)
	}
	w.read(c)
	return c.Check(ordertest.HalfOf(orderNos...))
}
