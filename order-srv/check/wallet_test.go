package check_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/order-srv/check"
)

// TestChecker_wallets plants one violation in a wallet.
func TestChecker_wallets(t *testing.T) {
	t.Parallel()
	clean := check.Wallet{User: "ann", Available: 600, Frozen: 300, Entries: 900, Freezes: 300, Paid: 100, Confirmed: 100}
	for name, tt := range map[string]struct {
		plant func(w *check.Wallet)
		want  string
	}{
		"clean":                      {func(*check.Wallet) {}, ""},
		"money appeared":             {func(w *check.Wallet) { w.Available++ }, "9 wallet of ann"},
		"an entry is missing":        {func(w *check.Wallet) { w.Entries-- }, "9 wallet of ann"},
		"frozen for no order":        {func(w *check.Wallet) { w.Freezes -= 10 }, "9 wallet of ann"},
		"paid twice":                 {func(w *check.Wallet) { w.Paid += 100 }, "9 wallet of ann"},
		"refunded twice":             {func(w *check.Wallet) { w.Paid -= 100 }, "9 wallet of ann"},
		"below zero":                 {func(w *check.Wallet) { w.Available, w.Entries = -1, 299 }, "9 wallet of ann"},
		"frozen below zero":          {func(w *check.Wallet) { w.Frozen, w.Entries, w.Freezes = -1, 599, -1 }, "9 wallet of ann"},
		"frozen without being taken": {func(w *check.Wallet) { w.Frozen, w.Freezes = 400, 400 }, "9 wallet of ann"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := clean
			tt.plant(&w)
			c := check.New(started, check.NewTotals())
			c.Wallets([]check.Wallet{w})
			if diff := cmp.Diff(tt.want, found(c.Finish(check.Last{}))); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
		})
	}
}

// TestChecker_logs compares the coordinator's log with the orders and the wallet.
func TestChecker_logs(t *testing.T) {
	t.Parallel()
	none := check.Freeze{}
	money := func(state string) check.Freeze {
		return check.Freeze{OrderNo: "1", User: "ann", Amount: 300, State: state}
	}
	refunded := money("confirmed")
	refunded.Refunded = true
	other := money("frozen")
	other.User = "bob"
	cheaper := money("frozen")
	cheaper.Amount = 299
	for _, tt := range []struct {
		name, status, log string
		freeze            check.Freeze
		want              string
	}{
		{"being tried", "PENDING", "trying", none, ""},
		{"being tried, frozen", "PENDING", "trying", money("frozen"), ""},
		{"being tried, paid", "PENDING", "trying", money("confirmed"), "10 1"},
		{"placed", "PLACED", "tried", money("frozen"), ""},
		{"placed, nothing frozen", "PLACED", "tried", none, "10 1"},
		{"placed, a tombstone", "PLACED", "tried", money("void"), "10 1"},
		{"placed, ended meanwhile", "PLACED", "tried", money("cancelled"), "~10 1"},
		{"placed, of another user", "PLACED", "tried", other, "10 1"},
		{"placed, of another amount", "PLACED", "tried", cheaper, "10 1"},
		{"paid, not confirmed yet", "PAID", "confirming", money("frozen"), "~10 1"},
		{"paid, the log does not say so", "PAID", "confirming", money("confirmed"), "~10 1"},
		{"paid, its money was returned", "PAID", "confirming", money("cancelled"), "10 1"},
		{"paid, nothing was frozen", "PAID", "confirming", none, "10 1"},
		{"settled", "PAID", "done", money("confirmed"), ""},
		{"settled, and not paid", "PAID", "done", money("frozen"), "10 1"},
		{"settled, and refunded", "PAID", "done", refunded, "~10 1"},
		{"to be cancelled", "ABANDONED", "cancelling", none, "~10 1"},
		{"to be cancelled, paid", "EXPIRED", "cancelling", money("confirmed"), "10 1"},
		{"cancelled", "CANCELLED", "done", money("cancelled"), ""},
		{"never frozen", "ABANDONED", "done", money("void"), ""},
		{"hanging", "ABANDONED", "done", money("frozen"), "10 1"},
		{"rejected, nothing taken", "REJECTED", "done", none, ""},
		{"rejected, paid", "REJECTED", "done", money("confirmed"), "10 1"},
		{"to be refunded", "REFUND_DUE", "refunding", money("confirmed"), "~10 1"},
		{"refunded", "REFUND_DUE", "done", refunded, ""},
		{"owed a refund", "REFUND_DUE", "done", money("confirmed"), "10 1"},
		{"left behind", "PAID", "tried", money("frozen"), "~8 1"},
		{"ahead of its order", "PLACED", "done", money("frozen"), "8 1,10 1"},
		{"against its order", "PAID", "cancelling", money("frozen"), "8 1,~10 1"},
		{"without an order", "", "trying", none, "8 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := check.New(started, check.NewTotals())
			freezes := map[string]check.Freeze{}
			if tt.freeze.State != "" {
				freezes["1"] = tt.freeze
			}
			c.Logs([]check.Log{{OrderNo: "1", User: "ann", Amount: 300, State: tt.log, Status: tt.status}}, freezes)
			if diff := cmp.Diff(tt.want, found(c.Finish(check.Last{}))); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
		})
	}
}

func TestChecker_frozen(t *testing.T) {
	t.Parallel()
	c := check.New(started, check.NewTotals())
	freezes := []check.Freeze{{OrderNo: "1", User: "ann", Amount: 5, State: "frozen"}, {OrderNo: "2", User: "ann", Amount: 5, State: "frozen"}}
	c.Frozen(freezes, map[string]check.Log{"2": {OrderNo: "2"}})
	c.WalletAway(errors.New("it is away"))
	if diff := cmp.Diff("10 1,~10 wallet", found(c.Finish(check.Last{}))); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}
