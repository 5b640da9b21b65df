package flawed_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/order-srv/check"
	"holdfast/order-srv/internal/wallet/flawed"
	"holdfast/order-srv/internal/wallet/httpapi"
	"holdfast/order-srv/internal/wallet/store"
	"holdfast/order-srv/walletapi"
	"holdfast/sql"
)

const (
	opening = 1000
	amount  = 100
)

// scenario is what the network does with the calls for one or two orders of ann, and what the coordinator's log says
// when everything has come to rest. Both orders are worth amount.
type scenario struct {
	anomaly   string
	invariant int // that the mistake breaks
	calls     func(ctx context.Context, w httpapi.Wallets) []error
	logs      []check.Log
}

func freeze(orderNo string) walletapi.FreezeRequest {
	return walletapi.FreezeRequest{OrderNo: orderNo, UserID: "ann", AmountCents: amount}
}

func cancel() walletapi.CancelRequest {
	return walletapi.CancelRequest{UserID: "ann", AmountCents: amount}
}

func at(orderNo, state, status string) check.Log {
	return check.Log{OrderNo: orderNo, User: "ann", Amount: amount, State: state, Status: status}
}

// scenarios has the anomaly against which each guard is.
func scenarios() map[string]scenario {
	placed := at("B", "tried", "PLACED") // another order, whose money must not be touched
	return map[string]scenario{
		flawed.BlindCancel: {"empty cancel", 9, func(ctx context.Context, w httpapi.Wallets) []error {
			return []error{w.Freeze(ctx, freeze("B")), w.Cancel(ctx, "A", cancel())}
		}, []check.Log{at("A", "done", "ABANDONED"), placed}},
		flawed.NoTombstone: {"hanging: the freeze comes after its cancel", 10, func(ctx context.Context, w httpapi.Wallets) []error {
			err := w.Cancel(ctx, "A", cancel())
			_ = w.Freeze(ctx, freeze("A")) // the right one refuses
			return []error{err}
		}, []check.Log{at("A", "done", "ABANDONED")}},
		flawed.BlindRepeat: {"confirm sent twice", 9, func(ctx context.Context, w httpapi.Wallets) []error {
			return []error{w.Freeze(ctx, freeze("B")), w.Freeze(ctx, freeze("A")), w.Confirm(ctx, "A"), w.Confirm(ctx, "A")}
		}, []check.Log{at("A", "done", "PAID"), placed}},
		"open-after-cancel": {"hanging: the freeze is repeated after the cancel", 10, func(ctx context.Context, w httpapi.Wallets) []error {
			errs := []error{w.Freeze(ctx, freeze("A")), w.Cancel(ctx, "A", cancel())}
			_ = w.Freeze(ctx, freeze("A")) // the right one refuses
			return errs
		}, []check.Log{at("A", "done", "CANCELLED")}},
		"read-then-write": {"freezes at the same time", 9, func(ctx context.Context, w httpapi.Wallets) []error {
			var errs [8]error
			var running sync.WaitGroup
			for i := range errs {
				running.Go(func() { errs[i] = w.Freeze(ctx, freeze(fmt.Sprint("C", i))) })
			}
			running.Wait()
			return errs[:]
		}, manyPlaced(8)},
		"refund-again": {"refund sent twice", 9, func(ctx context.Context, w httpapi.Wallets) []error {
			return []error{w.Freeze(ctx, freeze("A")), w.Confirm(ctx, "A"), w.Refund(ctx, "A"), w.Refund(ctx, "A")}
		}, []check.Log{at("A", "done", "REFUND_DUE")}},
	}
}

func manyPlaced(n int) []check.Log {
	logs := make([]check.Log, n)
	for i := range logs {
		logs[i] = at(fmt.Sprint("C", i), "tried", "PLACED")
	}
	return logs
}

// TestMutants takes the guards of the wallet away, one by one: the anomaly that a guard is against breaks an invariant,
// which the checker names. With all guards in place the same calls break none.
func TestMutants(t *testing.T) {
	t.Parallel()
	all := scenarios()
	for _, m := range flawed.List() {
		sc, there := all[m.Name]
		if !there {
			t.Fatalf("no anomaly for %s", m.Name)
		}
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			t.Run("right", func(t *testing.T) {
				t.Parallel()
				found := violations(t, sc, func(_ *gorm.DB, right *store.Store) httpapi.Wallets { return right })
				for _, v := range found {
					t.Errorf("%s: %v", sc.anomaly, v)
				}
			})
			t.Run("mutant", func(t *testing.T) {
				t.Parallel()
				found := violations(t, sc, m.Make)
				if !slices.ContainsFunc(found, func(v check.Violation) bool { return v.Invariant == sc.invariant }) {
					t.Errorf("%s goes unnoticed: %v; want a violation of invariant %d", sc.anomaly, found, sc.invariant)
				}
				t.Logf("%s: %v", sc.anomaly, found)
			})
		})
	}
}

func violations(t *testing.T, sc scenario, build func(*gorm.DB, *store.Store) httpapi.Wallets) []check.Violation {
	t.Helper()
	db := dbtest.New(t, sql.Wallet())
	right := store.New(db, opening)
	w := build(db, right)
	if _, err := w.Wallet(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	for _, err := range sc.calls(t.Context(), w) {
		if err != nil {
			t.Fatalf("%s: %v", sc.anomaly, err)
		}
	}
	return audit(t, right, sc.logs).Violations
}

// audit checks the wallets against the coordinator's log.
func audit(t *testing.T, right *store.Store, logs []check.Log) check.Report {
	t.Helper()
	c := check.New(time.Now(), check.NewTotals())
	balances, err := right.Balances(t.Context(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range balances {
		c.Wallets([]check.Wallet{{
			User: b.UserID, Available: b.AvailableCents, Frozen: b.FrozenCents, Entries: b.EntriesCents, Freezes: b.FreezesCents,
			Paid: b.PaidCents, Confirmed: b.ConfirmedCents,
		}})
	}
	var orderNos []string
	byNo := map[string]check.Log{}
	for _, l := range logs {
		orderNos, byNo[l.OrderNo] = append(orderNos, l.OrderNo), l
	}
	states, err := right.States(t.Context(), orderNos)
	if err != nil {
		t.Fatal(err)
	}
	freezes := map[string]check.Freeze{}
	var held []check.Freeze
	for _, f := range states {
		freezes[f.OrderNo] = check.Freeze{OrderNo: f.OrderNo, User: f.UserID, Amount: f.AmountCents, State: f.State, Refunded: f.Refunded}
	}
	frozen, err := right.Frozen(t.Context(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frozen {
		held = append(held, check.Freeze{OrderNo: f.OrderNo, User: f.UserID, Amount: f.AmountCents, State: f.State})
	}
	c.Logs(logs, freezes)
	c.Frozen(held, byNo)
	return c.Finish(check.Last{})
}
