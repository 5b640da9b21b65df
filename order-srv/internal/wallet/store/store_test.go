package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/dev/dbtest"
	"holdfast/order-srv/internal/wallet/store"
	"holdfast/order-srv/walletapi"
	"holdfast/pkg/fault"
	"holdfast/sql"
)

const opening = 1000

type world struct {
	*store.Store
	t *testing.T
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{store.New(dbtest.New(t, sql.Wallet()), opening), t}
}

func freeze(orderNo string, cents int64) walletapi.FreezeRequest {
	return walletapi.FreezeRequest{OrderNo: orderNo, UserID: "ann", AmountCents: cents}
}

func cancel(cents int64) walletapi.CancelRequest {
	return walletapi.CancelRequest{UserID: "ann", AmountCents: cents}
}

// must fails the test unless each call was executed.
func (w *world) must(errs ...error) {
	w.t.Helper()
	if err := errors.Join(errs...); err != nil {
		w.t.Fatal(err)
	}
}

// mustRefuse fails the test unless the call was refused for this reason, and was not executed.
func (w *world) mustRefuse(err, want error) {
	w.t.Helper()
	if !errors.Is(err, want) || fault.Ambiguous(err) {
		w.t.Errorf("error %v, want %v", err, want)
	}
}

// mustHave checks the balance of ann, and that it agrees with its entries and freezes.
func (w *world) mustHave(available, frozen int64) {
	w.t.Helper()
	all, err := w.Balances(w.t.Context(), "", 10)
	if err != nil || len(all) != 1 {
		w.t.Fatalf("%d wallets, error %v", len(all), err)
	}
	b := all[0]
	if b.AvailableCents != available || b.FrozenCents != frozen {
		w.t.Errorf("%d available and %d frozen, want %d and %d", b.AvailableCents, b.FrozenCents, available, frozen)
	}
	if b.EntriesCents != available+frozen || b.FreezesCents != frozen || b.PaidCents != b.ConfirmedCents {
		w.t.Errorf("the sums do not agree: %+v", b)
	}
}

// state is what the wallet has of an order; "" for nothing.
func (w *world) state(orderNo string) string {
	w.t.Helper()
	found, err := w.States(w.t.Context(), []string{orderNo})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(found) == 0 {
		return ""
	}
	return found[0].State
}

func TestStore_Freeze(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), t.Context()
	w.must(w.Freeze(ctx, freeze("A", 600)), w.Freeze(ctx, freeze("A", 600)))
	w.mustHave(400, 600)
	w.mustRefuse(w.Freeze(ctx, freeze("A", 601)), walletapi.ErrFreezeMismatch)
	err := w.Freeze(ctx, freeze("B", 500))
	w.mustRefuse(err, walletapi.ErrInsufficientFunds)
	if got := fault.From(err).Details["available_cents"]; got != int64(400) {
		t.Errorf("the refusal says that %v cents are available", got)
	}
	if got := w.state("B"); got != "" {
		t.Errorf("a refused freeze is %q", got)
	}
	w.must(w.Credit1("top-up", 100), w.Freeze(ctx, freeze("B", 500))) // the refusal left nothing behind
	w.mustHave(0, 1100)
}

// Credit1 adds money to the wallet of ann.
func (w *world) Credit1(reference string, cents int64) error {
	_, err := w.Credit(w.t.Context(), "ann", walletapi.CreditRequest{AmountCents: cents, Reference: reference})
	return err
}

// TestStore_emptyCancel cancels what was never frozen: nothing is returned, and a tombstone is left.
func TestStore_emptyCancel(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), t.Context()
	w.must(w.Freeze(ctx, freeze("B", 300)), w.Cancel(ctx, "A", cancel(300)), w.Cancel(ctx, "A", cancel(0)))
	w.mustHave(700, 300)
	if got := w.state("A"); got != walletapi.StateVoid {
		t.Errorf("the order is %q, want the tombstone", got)
	}
}

// TestStore_hanging has a freeze arrive after its cancellation: it is refused, also when it is repeated.
func TestStore_hanging(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), t.Context()
	w.must(w.Cancel(ctx, "A", cancel(300)))
	for range 2 {
		w.mustRefuse(w.Freeze(ctx, freeze("A", 300)), walletapi.ErrFreezeClosed)
	}
	w.must(w.Freeze(ctx, freeze("B", 300)), w.Cancel(ctx, "B", cancel(300)))
	w.mustRefuse(w.Freeze(ctx, freeze("B", 300)), walletapi.ErrFreezeClosed)
	w.mustRefuse(w.Confirm(ctx, "A"), walletapi.ErrFreezeClosed)
	w.mustRefuse(w.Confirm(ctx, "B"), walletapi.ErrFreezeClosed)
	w.mustHave(opening, 0)
}

// TestStore_repeats sends each phase several times.
func TestStore_repeats(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), t.Context()
	w.must(w.Freeze(ctx, freeze("A", 300)), w.Freeze(ctx, freeze("B", 200)), w.Freeze(ctx, freeze("C", 100)))
	w.must(w.Confirm(ctx, "A"), w.Confirm(ctx, "A"), w.Freeze(ctx, freeze("A", 300)))
	w.mustHave(400, 300)
	w.must(w.Cancel(ctx, "B", cancel(200)), w.Cancel(ctx, "B", cancel(200)))
	w.mustHave(600, 100)
	w.mustRefuse(w.Cancel(ctx, "A", cancel(300)), walletapi.ErrFreezeConfirmed)
	w.mustRefuse(w.Refund(ctx, "C"), walletapi.ErrFreezeUnpaid)
	w.mustRefuse(w.Refund(ctx, "B"), walletapi.ErrFreezeUnpaid)
	w.mustRefuse(w.Refund(ctx, "X"), walletapi.ErrUnknownFreeze)
	w.must(w.Refund(ctx, "A"), w.Refund(ctx, "A"), w.Confirm(ctx, "A"))
	w.mustHave(900, 100)
	w.mustRefuse(w.Confirm(ctx, "X"), walletapi.ErrUnknownFreeze)
	if got := w.state("X"); got != "" {
		t.Errorf("a confirmation of nothing has left %q", got)
	}
	entries, err := w.Entries(ctx, "ann", 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, fmt.Sprintf("%s %d", e.Reference, e.AmountCents))
	}
	if diff := cmp.Diff([]string{"refund:A 300", "payment:A -300", "opening:ann 1000"}, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// TestStore_concurrent sends all phases of the same orders at the same time, many times over. Whatever wins, the
// balance agrees with the entries and the freezes, and each order has ended in one way.
func TestStore_concurrent(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), t.Context()
	if _, err := w.Wallet(ctx, "ann"); err != nil {
		t.Fatal(err)
	}
	calls := []func(ctx context.Context, no string) error{
		func(ctx context.Context, no string) error { return w.Freeze(ctx, freeze(no, 150)) },
		func(ctx context.Context, no string) error { return w.Confirm(ctx, no) },
		func(ctx context.Context, no string) error { return w.Cancel(ctx, no, cancel(150)) },
		func(ctx context.Context, no string) error { return w.Refund(ctx, no) },
	}
	var running sync.WaitGroup
	for i := range 8 {
		for range 3 {
			for _, call := range calls {
				running.Go(func() {
					if err := call(ctx, fmt.Sprint("N", i)); err != nil && fault.Ambiguous(err) {
						t.Errorf("order %d: %v", i, err)
					}
				})
			}
		}
	}
	running.Wait()
	all, err := w.Balances(ctx, "", 10)
	if err != nil || len(all) != 1 {
		t.Fatalf("%d wallets, error %v", len(all), err)
	}
	w.mustHave(all[0].AvailableCents, all[0].FrozenCents)
	if all[0].FrozenCents != 0 { // each order was cancelled or confirmed
		t.Errorf("%d cents are still frozen", all[0].FrozenCents)
	}
}

// TestStore_spendOnce has more freezes at the same time than the balance allows.
func TestStore_spendOnce(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), t.Context()
	var running sync.WaitGroup
	errs := make([]error, 12) // the wallet is opened by one of them
	for i := range errs {
		running.Go(func() { errs[i] = w.Freeze(ctx, freeze(fmt.Sprint("N", i), 300)) })
	}
	running.Wait()
	frozen := 0
	for _, err := range errs {
		if err == nil {
			frozen++
			continue
		}
		w.mustRefuse(err, walletapi.ErrInsufficientFunds)
	}
	if frozen != 3 {
		t.Errorf("%d freezes of 300 out of %d, want 3", frozen, opening)
	}
	w.mustHave(100, 900)
}

func TestStore_Credit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(w.Credit1("a", 50), w.Credit1("a", 50), w.Credit1("b", 50))
	w.mustHave(opening+100, 0)
	w.mustRefuse(w.Credit1("a", 51), walletapi.ErrCreditMismatch)
	_, err := w.Credit(t.Context(), "ben", walletapi.CreditRequest{AmountCents: 50, Reference: "a"})
	w.mustRefuse(err, walletapi.ErrCreditMismatch)
	w.mustHave(opening+100, 0)
}

// TestStore_noOpening is a wallet outside of lab mode: it has what was credited.
func TestStore_noOpening(t *testing.T) {
	t.Parallel()
	s := store.New(dbtest.New(t, sql.Wallet()), 0)
	w := &world{s, t}
	if got, err := s.Wallet(t.Context(), "ann"); err != nil || got != (walletapi.Wallet{UserID: "ann"}) {
		t.Errorf("wallet %+v, error %v", got, err)
	}
	w.mustRefuse(s.Freeze(t.Context(), freeze("A", 1)), walletapi.ErrInsufficientFunds)
	w.must(s.Freeze(t.Context(), freeze("B", 0))) // an order that costs nothing needs no wallet
	w.must(w.Credit1("a", 5), s.Freeze(t.Context(), freeze("A", 5)))
	w.mustHave(0, 5)
}

func TestStore_pages(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), t.Context()
	for i := range 3 {
		r := freeze(fmt.Sprint("N", i), 10)
		r.UserID = fmt.Sprint("user", i)
		w.must(w.Freeze(ctx, r))
	}
	w.must(w.Credit1("a", 1), w.Credit1("b", 2), w.Credit1("c", 3))
	frozen, err := w.Frozen(ctx, "N0", 1)
	if err != nil || len(frozen) != 1 || frozen[0].OrderNo != "N1" {
		t.Errorf("frozen after N0: %+v, error %v", frozen, err)
	}
	balances, err := w.Balances(ctx, "ann", 2)
	if err != nil || len(balances) != 2 || balances[0].UserID != "user0" {
		t.Errorf("balances after ann: %+v, error %v", balances, err)
	}
	newest, err := w.Entries(ctx, "ann", 0, 2)
	if err != nil || len(newest) != 2 || newest[0].Reference != "credit:c" {
		t.Fatalf("entries: %+v, error %v", newest, err)
	}
	older, err := w.Entries(ctx, "ann", newest[1].ID, 10)
	if err != nil || len(older) != 2 || older[0].Reference != "credit:a" || older[1].Reference != "opening:ann" {
		t.Errorf("older entries: %+v, error %v", older, err)
	}
}
