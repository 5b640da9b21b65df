package store_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
)

// setStatus gives a row a status, whatever it had.
func setStatus(t *testing.T, db *gorm.DB, orderNo string, status order.Status) {
	t.Helper()
	must(t, db.Exec("UPDATE orders SET status = ?, expires_at = UTC_TIMESTAMP(6) + INTERVAL 1 HOUR WHERE order_no = ?", status, orderNo).Error)
}

// TestStore_guards tries to bring a row of each status to each status, with the method that does it, and compares what
// the SQL guard lets pass with the status machine.
func TestStore_guards(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	ctx := t.Context()
	methods := map[order.Status]func(no string){
		order.Placed: func(no string) { _, _ = ordertest.Place(ctx, s, no, placement()) },
		order.Rejected: func(no string) {
			_, _ = ordertest.Reject(ctx, s, no, store.Rejection{Refusal: soldOut(), GiveBack: true})
		},
		order.Abandoned: func(no string) { _, _ = s.Abandon(ctx, []string{no}, 0, true, store.Sweeper) },
		order.Paid:      func(no string) { _, _ = s.Pay(ctx, "ann", no) },
		order.Cancelled: func(no string) { _, _ = s.Cancel(ctx, "ann", no) },
		order.Expired:   func(no string) { _, _ = ordertest.Expire(ctx, s, no, -2*time.Hour, store.NoHealer) },
		order.RefundDue: func(no string) { _, _ = s.RefundDue(ctx, no, "closed") },
	}
	for _, to := range order.Statuses() {
		run, ok := methods[to]
		if !ok && to != order.Pending {
			t.Errorf("no method makes an order %s", to)
		}
		for _, from := range order.Statuses() {
			if !ok {
				if from.CanBecome(to) {
					t.Errorf("no method brings an order from %s to %s", from, to)
				}
				continue
			}
			no := insert(t, s, newOrder()).OrderNo
			setStatus(t, db, no, from)
			run(no)
			want := from
			if from.CanBecome(to) {
				want = to
			}
			if got := get(t, s, no).Status; got != want {
				t.Errorf("from %s to %s: the row is %s, want %s", from, to, got, want)
			}
		}
	}
}

// TestStore_change tries each step on a row of each status: a step that the machine does not have is an error, and one
// that it has changes only rows of the status from which it starts.
func TestStore_change(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	no := insert(t, s, newOrder()).OrderNo
	for _, from := range order.Statuses() {
		for _, to := range order.Statuses() {
			for _, at := range order.Statuses() {
				setStatus(t, db, no, at)
				won, err := store.Change(db, from, to, no)
				want := at
				if from.CanBecome(to) && at == from {
					want = to
				}
				if got := get(t, s, no).Status; got != want || (err == nil) != from.CanBecome(to) || won == 1 != (want != at) {
					t.Errorf("%s, the step from %s to %s: the row is %s, %d won, error %v; want %s", at, from, to, got, won, err, want)
				}
			}
		}
	}
}

// TestStore_oneStatement: no other statement of the package changes a status.
func TestStore_oneStatement(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	must(t, err)
	var found []string
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		source, err := os.ReadFile(f)
		must(t, err)
		for range strings.Count(string(source), "SET status") {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		t.Errorf("statements that set a status: %v, want one", found)
	}
}
