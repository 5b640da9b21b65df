package flow_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/app"
	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/walletapi"
	"holdfast/pkg/fault"
	"holdfast/sql"
)

// tccWorld is a world whose orders are of the flow tcc. An order of [ordertest.Request] costs 300 cents.
type tccWorld struct {
	*world
	wallet *ordertest.Wallet
}

const orderCents = 300

func newTCCWorld(t *testing.T, openingCents int64, answers ...ordertest.Answer) *tccWorld {
	t.Helper()
	wallet := ordertest.NewWallet(t, openingCents)
	w := ordertest.NewWorldOn(t, dbtest.NewDSN(t, sql.Orders()), answers, ordertest.Timeout(ordertest.RequestTimeout),
		wallet.Use, func(cfg *app.Config) { cfg.OrderFlow = flow.NameTCC })
	return &tccWorld{&world{w, t}, wallet}
}

// coordinate runs a coordinator until the test ends, as each replica does, and returns its metrics.
func (w *tccWorld) coordinate() *prometheus.Registry {
	w.t.Helper()
	registry := prometheus.NewRegistry()
	f := flow.NewTCC(flow.Deps{
		Resolver: &flow.Resolver{Log: slog.New(slog.DiscardHandler)}, Upkeep: w.Orders, UpkeepWallet: w.wallet.Client, Registry: registry,
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, worker := range f.Workers() {
		running.Go(func() { worker(ctx) })
	}
	w.t.Cleanup(running.Wait)
	w.t.Cleanup(cancel)
	return registry
}

// logRow is a row of the coordinator's log.
type logRow struct {
	State    store.LogState
	Attempts int
	Due      bool // next_at has come
	Pause    int64
	Failure  string
}

func (w *tccWorld) log(orderNo string) logRow {
	w.t.Helper()
	var rows []logRow
	err := w.DB.Raw(`SELECT state, attempts, COALESCE(next_at <= UTC_TIMESTAMP(6), FALSE) AS due,
		COALESCE(TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(6), next_at), 0) AS pause, failure FROM tcc_log WHERE order_no = ?`, orderNo).Scan(&rows).Error
	if err != nil || len(rows) != 1 {
		w.t.Fatalf("%d rows of the log, error %v; want 1", len(rows), err)
	}
	return rows[0]
}

// money is the state of the order's money in the wallet; "" for nothing.
func (w *tccWorld) money(orderNo string) string {
	w.t.Helper()
	found, err := w.wallet.States(w.t.Context(), []string{orderNo})
	if err != nil {
		w.t.Fatal(err)
	}
	if found[orderNo].Refunded {
		return "refunded"
	}
	return found[orderNo].State
}

// mustHave checks the wallet of ann, and that it agrees with its entries and freezes.
func (w *tccWorld) mustHave(available, frozen int64) {
	w.t.Helper()
	page, err := w.wallet.Balances(w.t.Context(), "", 10)
	if err != nil || len(page.Balances) != 1 {
		w.t.Fatalf("%d wallets, error %v; want 1", len(page.Balances), err)
	}
	b := page.Balances[0]
	if b.AvailableCents != available || b.FrozenCents != frozen {
		w.t.Errorf("%d available and %d frozen, want %d and %d", b.AvailableCents, b.FrozenCents, available, frozen)
	}
	if b.EntriesCents != available+frozen || b.FreezesCents != frozen || b.PaidCents != b.ConfirmedCents {
		w.t.Errorf("the sums do not agree: %+v", b)
	}
}

// settled waits until the coordinator has ended the order.
func (w *tccWorld) settled(orderNo string) logRow {
	w.t.Helper()
	var row logRow
	testkit.Eventually(w.t, 20*time.Second, "the coordinator ends the order", func() error {
		if row = w.log(orderNo); row.State != store.LogDone {
			return fmt.Errorf("the log says %+v", row)
		}
		return nil
	})
	return row
}

// hurry makes a row of the log due.
func (w *tccWorld) hurry(orderNo string) {
	w.t.Helper()
	if err := w.DB.Exec("UPDATE tcc_log SET next_at = UTC_TIMESTAMP(6) WHERE order_no = ?", orderNo).Error; err != nil {
		w.t.Fatal(err)
	}
}

func repeatFault(n int, f ordertest.WalletFault) []ordertest.WalletFault {
	faults := make([]ordertest.WalletFault, n)
	for i := range faults {
		faults[i] = f
	}
	return faults
}

// TestTCC_Place is every way in which the two participants can answer the try phase.
func TestTCC_Place(t *testing.T) {
	t.Parallel()
	soldOut := ordertest.Refuse(inventoryapi.ErrOutOfStock)
	tests := []struct {
		name    string
		answers []ordertest.Answer
		opening int64
		freeze  []ordertest.WalletFault
		down    bool

		status int    // of the reply
		code   string // of the error or of the stored problem
		order  order.Status
		events []string
		log    store.LogState
		money  string
		freed  bool
	}{
		{"placed at once", nil, 1000, nil, false, 201, "", order.Placed, []string{"timeout"}, store.LogTried, walletapi.StateFrozen, false},
		{"the answer of the freeze is lost, the retry succeeds", nil, 1000, []ordertest.WalletFault{ordertest.LostAnswer}, false, 201, "", order.Placed, []string{"timeout"}, store.LogTried, walletapi.StateFrozen, false},
		{"the freeze is lost, the retry succeeds", nil, 1000, []ordertest.WalletFault{ordertest.LostCall}, false, 201, "", order.Placed, []string{"timeout"}, store.LogTried, walletapi.StateFrozen, false},
		{"reserve lost, freeze lost, then both", []ordertest.Answer{ordertest.Lost, ordertest.OK}, 1000, []ordertest.WalletFault{ordertest.LostAnswer}, false, 201, "", order.Placed, []string{"timeout"}, store.LogTried, walletapi.StateFrozen, false},
		{"not enough money", nil, 299, nil, false, 409, "insufficient_funds", order.Rejected, []string{"release-rejected"}, store.LogCancelling, "", false},
		{"exactly enough money", nil, 300, nil, false, 201, "", order.Placed, []string{"timeout"}, store.LogTried, walletapi.StateFrozen, false},
		{"sold out", []ordertest.Answer{soldOut}, 1000, nil, false, 409, "out_of_stock", order.Rejected, nil, store.LogDone, "", false},
		{"reserve lost, then sold out", []ordertest.Answer{ordertest.Lost, soldOut}, 1000, nil, false, 409, "out_of_stock", order.Rejected, []string{"release-rejected"}, store.LogCancelling, "", false},
		{"no clear answer of the freeze to the end", nil, 1000, repeatFault(20, ordertest.LostCall), false, 202, "", order.Pending, nil, store.LogTrying, "", false},
		{"frozen, no answer to the end", nil, 1000, repeatFault(20, ordertest.LostAnswer), false, 202, "", order.Pending, nil, store.LogTrying, walletapi.StateFrozen, false},
		{"the wallet is away", nil, 1000, nil, true, 0, "database_unavailable", order.Rejected, []string{"release-rejected"}, store.LogCancelling, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newTCCWorld(t, tt.opening, tt.answers...)
			w.wallet.Break(ordertest.Freeze, tt.freeze...)
			w.wallet.SetDown(tt.down)
			reply, err := w.Place("k")
			if reply.Status != tt.status || ordertest.Code(err)+ordertest.Problem(reply) != tt.code {
				t.Errorf("reply %d %s, error %v; want %d %s", reply.Status, reply.Body, err, tt.status, tt.code)
			}
			if err != nil && fault.Ambiguous(err) {
				t.Errorf("the error says that something may have been executed: %v", err)
			}
			o := w.Only()
			if o.Status != tt.order || (o.IdempotencyKey == "") != tt.freed || o.Flow != flow.NameTCC {
				t.Errorf("order %+v; want %s, key freed %v", o, tt.order, tt.freed)
			}
			if diff := cmp.Diff(tt.events, w.Events()); diff != "" {
				t.Errorf("outbox (-want +got):\n%s", diff)
			}
			if got := w.log(o.OrderNo).State; got != tt.log {
				t.Errorf("the log says %s, want %s", got, tt.log)
			}
			w.wallet.SetDown(false)
			if got := w.money(o.OrderNo); got != tt.money {
				t.Errorf("the money is %q, want %q", got, tt.money)
			}
		})
	}
}

// TestTCC_Place_group places orders together: the wallet refuses one of them, and the others are PLACED.
func TestTCC_Place_group(t *testing.T) {
	t.Parallel()
	wallet := ordertest.NewWallet(t, 2*orderCents)
	w := ordertest.NewWorldOn(t, dbtest.NewDSN(t, sql.Orders()), nil, ordertest.OneGroup,
		wallet.Use, func(cfg *app.Config) { cfg.OrderFlow = flow.NameTCC })
	buyers := make([]*ordertest.Buyer, 4)
	for i := range buyers {
		buyers[i] = &ordertest.Buyer{Request: ordertest.Request(fmt.Sprint("k", i))}
	}
	w.Together(buyers, nil)
	placed := 0
	for _, b := range buyers {
		switch {
		case b.Err == nil && b.Reply.Status == http.StatusCreated:
			placed++
		case ordertest.Problem(b.Reply) != "insufficient_funds":
			t.Errorf("reply %d %s, error %v", b.Reply.Status, b.Reply.Body, b.Err)
		}
	}
	if placed != 2 {
		t.Errorf("%d orders are PLACED, the money is enough for 2", placed)
	}
}

// TestTCC_ends ends a PLACED order in each way: the coordinator has the wallet follow.
func TestTCC_ends(t *testing.T) {
	t.Parallel()
	refundDue := func(w *tccWorld, no string) error {
		if _, err := w.Orders.Pay(t.Context(), "ann", no); err != nil {
			return err
		}
		if won, err := w.Orders.RefundDue(t.Context(), no, "closed"); err != nil || !won {
			return fmt.Errorf("refund due: %v, error %w", won, err)
		}
		return nil
	}
	tests := []struct {
		name      string
		end       func(w *tccWorld, no string) error
		phase     store.LogState
		money     string
		available int64
	}{
		{"paid", func(w *tccWorld, no string) error { _, err := w.Orders.Pay(t.Context(), "ann", no); return err }, store.LogConfirming, walletapi.StateConfirmed, 700},
		{"cancelled", func(w *tccWorld, no string) error { _, err := w.Orders.Cancel(t.Context(), "ann", no); return err }, store.LogCancelling, walletapi.StateCancelled, 1000},
		{"expired", func(w *tccWorld, no string) error {
			w.Age(no, 2*time.Hour)
			_, err := ordertest.Expire(t.Context(), w.Orders, no, 0, store.NoHealer)
			return err
		}, store.LogCancelling, walletapi.StateCancelled, 1000},
		{"refund due before the confirmation", refundDue, store.LogRefunding, "refunded", 1000},
		{"refund due after the confirmation", func(w *tccWorld, no string) error {
			if err := w.wallet.Confirm(t.Context(), no); err != nil {
				return err
			}
			return refundDue(w, no)
		}, store.LogRefunding, "refunded", 1000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newTCCWorld(t, 1000)
			no := w.MustPlace("k", http.StatusCreated).OrderNo
			w.mustHave(700, 300)
			if err := tt.end(w, no); err != nil {
				t.Fatal(err)
			}
			if row := w.log(no); row.State != tt.phase || !row.Due {
				t.Fatalf("the log says %+v, want %s at once", row, tt.phase)
			}
			w.coordinate()
			if row := w.settled(no); row.Attempts != 1 {
				t.Errorf("%d attempts, want 1", row.Attempts)
			}
			if got := w.money(no); got != tt.money {
				t.Errorf("the money is %q, want %q", got, tt.money)
			}
			w.mustHave(tt.available, 0)
		})
	}
}

// TestTCC_emptyCancel abandons an order whose freeze never came: the wallet gets a cancellation of nothing, returns
// nothing, and leaves a tombstone.
func TestTCC_emptyCancel(t *testing.T) {
	t.Parallel()
	w := newTCCWorld(t, 1000)
	other := w.MustPlace("other", http.StatusCreated).OrderNo
	w.wallet.Break(ordertest.Freeze, repeatFault(20, ordertest.LostCall)...)
	no := w.MustPlace("k", http.StatusAccepted).OrderNo
	w.abandon(no)
	w.coordinate()
	w.settled(no)
	if got := w.money(no); got != walletapi.StateVoid {
		t.Errorf("the money is %q, want the tombstone", got)
	}
	if got := w.money(other); got != walletapi.StateFrozen {
		t.Errorf("the money of the other order is %q", got)
	}
	w.mustHave(700, 300)
}

// abandon has the flow recover a PENDING order that is too old.
func (w *tccWorld) abandon(orderNo string) {
	w.t.Helper()
	w.Age(orderNo, time.Hour)
	f := flow.NewTCC(flow.Deps{Upkeep: w.Orders, SweepAfter: time.Minute})
	if n, err := f.Recover(w.t.Context(), []string{orderNo}); n != 1 || err != nil {
		w.t.Fatalf("abandoned %d, error %v", n, err)
	}
	if row := w.log(orderNo); row.State != store.LogCancelling || !row.Due {
		w.t.Fatalf("the log says %+v, want cancelling at once", row)
	}
}

// TestTCC_hanging has the network delay a freeze until its order was abandoned and cancelled: the freeze is refused,
// and no money hangs.
func TestTCC_hanging(t *testing.T) {
	t.Parallel()
	w := newTCCWorld(t, 1000)
	release, late := make(chan struct{}), make(chan int, 1)
	w.wallet.Break(ordertest.Freeze, append([]ordertest.WalletFault{ordertest.Delayed(release, late)}, repeatFault(20, ordertest.LostCall)...)...)
	no := w.MustPlace("k", http.StatusAccepted).OrderNo
	w.abandon(no)
	w.coordinate()
	w.settled(no)
	close(release)
	if got := <-late; got != http.StatusConflict {
		t.Errorf("the late freeze is answered with %d, want 409 freeze_closed", got)
	}
	if got := w.money(no); got != walletapi.StateVoid {
		t.Errorf("the money is %q, want the tombstone", got)
	}
	if balance, err := w.wallet.Wallet(t.Context(), "ann"); err != nil || balance.FrozenCents != 0 || balance.AvailableCents != 1000 {
		t.Errorf("balance %+v, error %v: money hangs", balance, err)
	}
}

// TestTCC_repeat loses the answers of phases: they are executed again, by any coordinator, and count once. The healing
// is recorded.
func TestTCC_repeat(t *testing.T) {
	t.Parallel()
	for name, pay := range map[string]bool{ordertest.Confirmation: true, ordertest.Cancellation: false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTCCWorld(t, 1000)
			no := w.MustPlace("k", http.StatusCreated).OrderNo
			w.wallet.Break(name, ordertest.LostAnswer, ordertest.LostCall, ordertest.LostAnswer)
			end := w.Orders.Cancel
			if pay {
				end = w.Orders.Pay
			}
			if _, err := end(t.Context(), "ann", no); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				w.coordinate()
			}
			if row := w.settled(no); row.Attempts < 4 {
				t.Errorf("%d attempts, want at least 4", row.Attempts)
			}
			if pay {
				w.mustHave(700, 0)
			} else {
				w.mustHave(1000, 0)
			}
			healings, err := w.Orders.Healings(t.Context(), 10)
			if err != nil || len(healings) != 1 || healings[0].Healer != store.Coordinator {
				t.Errorf("healings %+v, error %v; want one of the coordinator", healings, err)
			}
		})
	}
}

// TestTCC_concurrent has several coordinators end many orders at the same time, each order once.
func TestTCC_concurrent(t *testing.T) {
	t.Parallel()
	const orders = 60 // more than a batch
	w := newTCCWorld(t, orders*orderCents)
	var paid, cancelled []string
	for i := range orders {
		no := w.MustPlace(fmt.Sprint("k", i), http.StatusCreated).OrderNo
		end, list := w.Orders.Pay, &paid
		if i%3 == 0 {
			end, list = w.Orders.Cancel, &cancelled
		}
		if _, err := end(t.Context(), "ann", no); err != nil {
			t.Fatal(err)
		}
		*list = append(*list, no)
	}
	for range 3 {
		w.coordinate()
	}
	for _, no := range append(paid, cancelled...) {
		if row := w.settled(no); row.Attempts != 1 {
			t.Errorf("order %s took %d attempts: two coordinators had it", no, row.Attempts)
		}
	}
	w.mustHave(int64(len(cancelled))*orderCents, 0)
	if calls := w.wallet.Calls(ordertest.Confirmation) + w.wallet.Calls(ordertest.Cancellation); calls != orders {
		t.Errorf("%d calls for %d orders", calls, orders)
	}
}

// TestTCC_backoff has the wallet away: attempts come with growing pauses, an alarm after eight of them, and the phase
// is executed when the wallet is back.
func TestTCC_backoff(t *testing.T) {
	t.Parallel()
	w := newTCCWorld(t, 1000)
	no := w.MustPlace("k", http.StatusCreated).OrderNo
	if _, err := w.Orders.Pay(t.Context(), "ann", no); err != nil {
		t.Fatal(err)
	}
	w.wallet.SetDown(true)
	metrics := w.coordinate()
	var pauses []int64
	for attempt := 1; attempt <= 10; attempt++ {
		testkit.Eventually(t, 20*time.Second, "the next attempt fails", func() error {
			row := w.log(no)
			if row.Attempts < attempt || row.Failure == "" {
				return fmt.Errorf("the log says %+v", row)
			}
			if attempt > 4 { // the first pauses are over before anybody can look
				pauses = append(pauses, row.Pause)
			}
			return nil
		})
		if attempt < 10 && attempt >= 4 {
			testkit.Eventually(t, 20*time.Second, "the attempt is put off", func() error {
				if row := w.log(no); row.Due {
					return errors.New("it is due")
				}
				return nil
			})
			if err := w.DB.Exec("UPDATE tcc_log SET next_at = UTC_TIMESTAMP(6), failure = '' WHERE order_no = ?", no).Error; err != nil {
				t.Fatal(err)
			}
		}
	}
	if last := pauses[len(pauses)-1]; last < 50 || last > 60 {
		t.Errorf("the pauses are %v s, the last one must be a minute", pauses)
	}
	if got := counter(t, metrics, "order_tcc_alarms_total"); got != 1 {
		t.Errorf("%v alarms after ten attempts, want 1", got)
	}
	w.wallet.SetDown(false)
	w.hurry(no)
	w.settled(no)
	w.mustHave(700, 0)
}

// counter is the value of a metric without labels.
func counter(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// TestTCC_contradiction: a paid order whose money was returned behind the coordinator's back is an alarm at once, and
// is not retried in a hot loop.
func TestTCC_contradiction(t *testing.T) {
	t.Parallel()
	w := newTCCWorld(t, 1000)
	no := w.MustPlace("k", http.StatusCreated).OrderNo
	if err := w.wallet.Cancel(t.Context(), no, walletapi.CancelRequest{UserID: "ann"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Orders.Pay(t.Context(), "ann", no); err != nil {
		t.Fatal(err)
	}
	metrics := w.coordinate()
	testkit.Eventually(t, 20*time.Second, "the attempt fails", func() error {
		if row := w.log(no); row.Attempts != 1 || !strings.Contains(row.Failure, "freeze_closed") || row.Pause < 30 {
			return fmt.Errorf("the log says %+v", row)
		}
		return nil
	})
	if got := counter(t, metrics, "order_tcc_alarms_total"); got != 1 {
		t.Errorf("%v alarms, want 1", got)
	}
}

// TestTCC_oldReplica has a replica that does not know the flow end orders: the log follows later.
func TestTCC_oldReplica(t *testing.T) {
	t.Parallel()
	w := newTCCWorld(t, 1000)
	paid, placed := w.MustPlace("k", http.StatusCreated).OrderNo, w.MustPlace("l", http.StatusCreated).OrderNo
	old := store.New(w.DB, nil)
	if _, err := old.Pay(t.Context(), "ann", paid); err != nil {
		t.Fatal(err)
	}
	for _, no := range []string{paid, placed} {
		if row := w.log(no); row.State != store.LogTried || row.Due || row.Pause < 3600 {
			t.Fatalf("the log says %+v, want tried until after the payment window", row)
		}
		w.hurry(no)
	}
	w.coordinate()
	w.settled(paid)
	testkit.Eventually(t, 20*time.Second, "the other order is looked at", func() error {
		if row := w.log(placed); row.State != store.LogTried || row.Due {
			return fmt.Errorf("the log says %+v", row)
		}
		return nil
	})
	w.mustHave(400, 300)
}

// TestTCC_left has orders leave after the retention: their rows of the log leave with them, and an order whose phase is
// not done stays with its row.
func TestTCC_left(t *testing.T) {
	t.Parallel()
	w := newTCCWorld(t, 1000)
	var nos []string
	for _, key := range []string{"a", "b"} {
		if reply, err := w.Place(key); err != nil || reply.Status != http.StatusCreated {
			t.Fatalf("reply %+v, error %v", reply, err)
		}
		var no string
		if err := w.DB.Raw("SELECT order_no FROM orders WHERE idempotency_key = ?", key).Row().Scan(&no); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Orders.Pay(t.Context(), "ann", no); err != nil {
			t.Fatal(err)
		}
		nos = append(nos, no)
	}
	const last = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"
	for _, query := range []string{"UPDATE orders SET settled_at = UTC_TIMESTAMP(6), due_at = NULL", "UPDATE audit_rollup SET cutoff = '" + last + "'"} {
		if err := w.DB.Exec(query).Error; err != nil {
			t.Fatal(err)
		}
	}
	if ok, err := w.Orders.ClaimHistory(t.Context(), "me", time.Minute); !ok || err != nil {
		t.Fatalf("claimed %v, error %v", ok, err)
	}
	if _, err := w.Orders.Archive(t.Context(), "me", last); err == nil || !strings.Contains(err.Error(), "confirming") {
		t.Errorf("orders whose money is not paid leave: error %v", err)
	}
	w.coordinate()
	for _, no := range nos {
		w.settled(no)
	}
	step, err := w.Orders.Archive(t.Context(), "me", last)
	if err != nil || step.Archived != 2 {
		t.Errorf("%+v, error %v; want 2 archived orders", step, err)
	}
	var rows int
	if err := w.DB.Raw("SELECT COUNT(*) FROM tcc_log").Row().Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d rows of the log are left, error %v", rows, err)
	}
}
