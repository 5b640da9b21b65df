package notify_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/internal/notify"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/webhook"
)

// TestNotifier pays an order and pays it again: the buyer is notified once, verifies it, and reads that in the end.
func TestNotifier(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := newReceiver(t, "whsec_ann", nil)
	w.hook("ann", r.URL)
	no := w.paid("key")
	if _, err := w.Orders.Pay(t.Context(), "ann", no); err != nil { // a payment that comes twice
		t.Fatal(err)
	}
	_, metrics, _ := w.start(nil)
	n := w.becomes(no, order.NotificationDelivered)
	if n.Attempts != 1 || n.LastStatus != http.StatusOK || n.Failure != "" || !n.NextAt.IsZero() {
		t.Errorf("notification %+v", n)
	}
	o := w.Get(no)
	want := []webhook.Event{{ID: no + ":order.paid", Type: "order.paid", OrderNo: no, AmountCents: 300, OccurredAt: o.PaidAt}}
	if diff := cmp.Diff(want, r.seen()); diff != "" {
		t.Errorf("the receiver got (-want +got):\n%s", diff)
	}
	testkit.Eventually(t, patience, "the attempt is counted", func() error {
		return testutil.GatherAndCompare(metrics, strings.NewReader(`# HELP order_notification_attempts_total Attempts of this process to notify a buyer, by result: delivered, failed (there is another attempt), given_up (it was the last).
# TYPE order_notification_attempts_total counter
order_notification_attempts_total{result="delivered"} 1
order_notification_attempts_total{result="failed"} 0
order_notification_attempts_total{result="given_up"} 0
`), "order_notification_attempts_total")
	})
}

// TestNotifier_noWebhook: without a webhook there is nothing to send, also when the buyer sets one later.
func TestNotifier_noWebhook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	no := w.paid("key")
	w.hook("ann", "http://127.0.0.1:1/")
	found, err := w.Orders.Notifications(t.Context(), "ann", no)
	if err != nil || len(found) != 0 {
		t.Errorf("notifications %+v, error %v; want none", found, err)
	}
	if _, err := w.Orders.Notifications(t.Context(), "bob", no); !errors.Is(err, order.ErrNotFound) {
		t.Errorf("another user's notifications: error %v", err)
	}
}

// failingFlows fail in the transaction that ends an order.
type failingFlows struct{ store.Flows }

var errFlow = errors.New("the flow fails")

func (failingFlows) Ended(*store.Tx, order.Order) error { return errFlow }

// TestNotifier_rolledBack: a payment that is rolled back notifies nobody. The notification is part of its transaction.
func TestNotifier_rolledBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.hook("ann", "http://127.0.0.1:1/")
	no := w.MustPlace("key", http.StatusCreated).OrderNo
	if _, err := w.Orders.WithFlows(failingFlows{}).Pay(t.Context(), "ann", no); !errors.Is(err, errFlow) {
		t.Fatalf("error %v, want that of the flow", err)
	}
	found, err := w.Orders.Notifications(t.Context(), "ann", no)
	if err != nil || len(found) != 0 || w.Get(no).Status != order.Placed {
		t.Errorf("notifications %+v, error %v, the order is %s", found, err, w.Get(no).Status)
	}
}

// TestNotifier_failing has receivers that fail in every way. Each notification is tried three times, and given up with
// a failure that the buyer can read.
func TestNotifier_failing(t *testing.T) {
	t.Parallel()
	elsewhere := newReceiver(t, "", nil)
	tests := []struct {
		name    string
		answer  http.HandlerFunc
		status  int
		failure string // a part of it
	}{
		{"fails", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusInternalServerError) }, 500, "answered 500"},
		{"redirects", func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, 307, "redirects are not followed"},
		{"hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, "closed without an answer"},
		{"slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 0, "no answer in time"},
		{"huge header", func(rw http.ResponseWriter, _ *http.Request) { rw.Header().Set("X-Huge", strings.Repeat("x", 64<<10)) }, 0, "too large"},
		{"greets like a database", func(rw http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(rw).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = conn.Write([]byte("SSH-2.0-hidden greeting\r\n"))
			_ = conn.Close()
		}, 0, "no valid HTTP answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			r := newReceiver(t, "whsec_ann", tt.answer)
			w.hook("ann", r.URL+"/?token=hidden")
			_, _, _ = w.start(func(cfg *notify.Config) { cfg.Timeout = 500 * time.Millisecond })
			n := w.becomes(w.paid("key"), order.NotificationGivenUp)
			if n.Attempts != 3 || n.LastStatus != tt.status || !strings.Contains(n.Failure, tt.failure) || strings.Contains(n.Failure, "hidden") {
				t.Errorf("notification %+v, want 3 attempts, status %d and %q", n, tt.status, tt.failure)
			}
			seen := r.seen()
			if len(seen) != 3 || seen[0] != seen[1] || seen[1] != seen[2] {
				t.Errorf("the receiver got %+v, want one event three times", seen)
			}
		})
	}
	t.Cleanup(func() {
		if elsewhere.hits > 0 {
			t.Error("a redirect was followed")
		}
	})
}

// TestNotifier_hugeAnswer: a body without an end is not read.
func TestNotifier_hugeAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var written atomic.Int64
	r := newReceiver(t, "whsec_ann", func(rw http.ResponseWriter, _ *http.Request) {
		for block := make([]byte, 64<<10); ; {
			n, err := rw.Write(block)
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	w.hook("ann", r.URL)
	w.start(nil)
	n := w.becomes(w.paid("key"), order.NotificationDelivered)
	if n.Attempts != 1 {
		t.Errorf("notification %+v", n)
	}
	r.Close() // returns when the handler has
	if n := written.Load(); n > 64<<20 {
		t.Errorf("the receiver could write %d bytes", n)
	}
}

// TestNotifier_refused: loopback, also by its name, is not called unless it is allowed, and nor is what the guard lets
// pass once kept for a later call.
func TestNotifier_refused(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			r := newReceiver(t, "whsec_ann", nil)
			_, port, _ := strings.Cut(strings.TrimPrefix(r.URL, "http://"), ":")
			w.hook("ann", "http://"+host+":"+port)
			w.start(func(cfg *notify.Config) { cfg.Guard, _ = notify.NewGuard(nil) })
			n := w.becomes(w.paid("key"), order.NotificationGivenUp)
			if n.Attempts != 3 || !strings.Contains(n.Failure, "may not be called") {
				t.Errorf("notification %+v", n)
			}
			if r.hits != 0 {
				t.Error("the receiver was called")
			}
		})
	}
}

// TestNotifier_newConnections: each attempt makes its connection, so each is checked.
func TestNotifier_newConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mu sync.Mutex
	from := map[string]bool{}
	r := newReceiver(t, "whsec_ann", func(rw http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		from[req.RemoteAddr] = true
		rw.WriteHeader(http.StatusServiceUnavailable)
	})
	w.hook("ann", r.URL)
	w.start(nil)
	w.becomes(w.paid("key"), order.NotificationGivenUp)
	mu.Lock()
	defer mu.Unlock()
	if len(from) != 3 {
		t.Errorf("three attempts came on %d connections", len(from))
	}
}

// TestNotifier_resend sends again what was given up, when the receiver has been mended, and what was delivered.
func TestNotifier_resend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mended atomic.Bool
	r := newReceiver(t, "whsec_ann", func(rw http.ResponseWriter, _ *http.Request) {
		if !mended.Load() {
			rw.WriteHeader(http.StatusBadGateway)
		}
	})
	w.hook("ann", r.URL)
	w.start(nil)
	no := w.paid("key")
	w.becomes(no, order.NotificationGivenUp)
	if _, err := w.Orders.Resend(t.Context(), "bob", no, webhook.TypePaid); !errors.Is(err, order.ErrUnknownWebhook) {
		t.Errorf("bob has it sent again: error %v", err)
	}
	w.hook("bob", r.URL)
	if _, err := w.Orders.Resend(t.Context(), "bob", no, webhook.TypePaid); !errors.Is(err, order.ErrUnknownNotification) {
		t.Errorf("bob has it sent again: error %v", err)
	}
	mended.Store(true)
	for _, attempts := range []int{4, 5} {
		if _, err := w.Orders.Resend(t.Context(), "ann", no, webhook.TypePaid); err != nil {
			t.Fatal(err)
		}
		testkit.EventuallyTrue(t, patience, "it is sent again", func() bool { return len(r.seen()) == attempts })
		if n := w.becomes(no, order.NotificationDelivered); n.Attempts != attempts {
			t.Errorf("notification %+v, want %d attempts", n, attempts)
		}
	}
}

// TestNotifier_resendTries: what is sent again has all its attempts again.
func TestNotifier_resendTries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := newReceiver(t, "whsec_ann", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusGone) })
	w.hook("ann", r.URL)
	w.start(nil)
	no := w.paid("key")
	w.becomes(no, order.NotificationGivenUp)
	if _, err := w.Orders.Resend(t.Context(), "ann", no, webhook.TypePaid); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, "it is given up again", func() error {
		if n := w.of("ann", no); n.State != order.NotificationGivenUp || n.Attempts != 6 {
			return fmt.Errorf("it is %+v", n)
		}
		return nil
	})
}

// TestNotifier_sending: an attempt that goes on cannot be doubled, and its webhook can be deleted.
func TestNotifier_sending(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	release := make(chan struct{})
	r := newReceiver(t, "whsec_ann", func(rw http.ResponseWriter, _ *http.Request) {
		<-release
		rw.WriteHeader(http.StatusBadGateway)
	})
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free) // a test that fails must not wait for the receiver
	w.hook("ann", r.URL)
	w.start(func(cfg *notify.Config) { cfg.Timeout = patience })
	no := w.paid("key")
	testkit.EventuallyTrue(t, patience, "the receiver is called", func() bool { return len(r.seen()) == 1 })
	if n, err := w.Orders.Resend(t.Context(), "ann", no, webhook.TypePaid); err != nil || n.State != order.NotificationSending {
		t.Errorf("sent again while it is being sent: %+v, error %v", n, err)
	}
	if err := w.Orders.DeleteWebhook(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	free()
	if n := w.becomes(no, order.NotificationGivenUp); n.Attempts != 2 || !strings.Contains(n.Failure, "no webhook") {
		t.Errorf("notification %+v", n)
	}
}

// TestNotifier_slowUser: a user whose receiver hangs has two attempts under way and more due than a search returns.
// Another user's are sent.
func TestNotifier_slowUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	release := make(chan struct{})
	slow := newReceiver(t, "whsec_ann", func(http.ResponseWriter, *http.Request) { <-release })
	quick := newReceiver(t, "whsec_bob", nil)
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free) // a test that fails must not wait for the receiver
	w.hook("ann", slow.URL)
	w.hook("bob", quick.URL)
	const due = 100
	for i := range due {
		err := w.DB.Exec(`INSERT INTO notifications (order_no, event, user_id, amount_cents, occurred_at, state, next_at, updated_at)
			VALUES (?, ?, 'ann', 1, UTC_TIMESTAMP(6), 'pending', '2020-01-01', UTC_TIMESTAMP(6))`, fmt.Sprintf("SLOW%d", i), webhook.TypePaid).Error
		if err != nil {
			t.Fatal(err)
		}
	}
	w.start(func(cfg *notify.Config) { cfg.Timeout = patience })
	testkit.EventuallyTrue(t, patience, "the slow receiver is called", func() bool { return len(slow.seen()) == 2 })
	for i := range 5 {
		w.paidBy("bob", fmt.Sprintf("key-%d", i))
	}
	testkit.EventuallyTrue(t, patience, "the other user is notified", func() bool { return len(quick.seen()) == 5 })
	if n := len(slow.seen()); n != 2 {
		t.Errorf("%d calls to the slow receiver, want 2", n)
	}
	free()
	testkit.EventuallyTrue(t, patience, "the slow receiver gets the others", func() bool { return len(slow.seen()) == due })
}

// TestNotifier_replicas: two replicas send each notification once.
func TestNotifier_replicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := newReceiver(t, "whsec_ann", nil)
	w.hook("ann", r.URL)
	const orders = 20
	w.start(func(cfg *notify.Config) { cfg.Poll = time.Millisecond })
	w.start(func(cfg *notify.Config) { cfg.Poll = time.Millisecond })
	var nos []string
	for i := range orders {
		nos = append(nos, w.paid(fmt.Sprintf("key-%d", i)))
	}
	for _, no := range nos {
		if n := w.becomes(no, order.NotificationDelivered); n.Attempts != 1 {
			t.Errorf("notification %+v", n)
		}
	}
	if n := len(r.seen()); n != orders {
		t.Errorf("%d calls for %d notifications", n, orders)
	}
}

// TestNotifier_interrupted: a claim whose process died runs out, another one sends, and that is recorded as its
// healing.
func TestNotifier_interrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := newReceiver(t, "whsec_ann", nil)
	w.hook("ann", r.URL)
	no := w.paid("key")
	dead, err := w.Orders.ClaimNotifications(t.Context(), []string{no}, 300*time.Millisecond)
	if err != nil || len(dead) != 1 || dead[0].Interrupted {
		t.Fatalf("claims %+v, error %v", dead, err)
	}
	if again, err := w.Orders.ClaimNotifications(t.Context(), []string{no}, time.Minute); err != nil || len(again) != 0 {
		t.Errorf("claimed twice: %+v, error %v", again, err)
	}
	w.start(nil)
	if n := w.becomes(no, order.NotificationDelivered); n.Attempts != 2 {
		t.Errorf("notification %+v", n)
	}
	healings, err := w.Orders.Healings(t.Context(), 10)
	if err != nil || len(healings) != 1 || healings[0].OrderNo != no || healings[0].Healer != "notifier" {
		t.Errorf("healings %+v, error %v", healings, err)
	}
}

// TestNotifier_broker: without a broker the rows alone decide; with one, a message hastens the next attempt.
func TestNotifier_broker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var calls atomic.Int32
	r := newReceiver(t, "whsec_ann", func(rw http.ResponseWriter, _ *http.Request) {
		if calls.Add(1)%2 == 1 {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	w.hook("ann", r.URL)
	n, _, stop := w.start(func(cfg *notify.Config) { cfg.Poll = time.Hour })
	n.Kick()
	no := w.paid("hastened")
	n.Kick()
	testkit.EventuallyTrue(t, patience, "a message hastens the next attempt", func() bool { return len(w.hastened()) == 1 })
	if got := w.hastened()[0]; got.OrderNo != no {
		t.Errorf("the message is about %s", got.OrderNo)
	}
	testkit.Eventually(t, patience, "the message has it sent", func() error {
		if err := n.Subscription().Handler(t.Context(), w.Broker.Sent()[0]); err != nil {
			t.Fatal(err)
		}
		if s := w.of("ann", no).State; s != order.NotificationDelivered {
			return fmt.Errorf("it is %s", s)
		}
		return nil
	})
	stop()
	no = w.paid("polled")
	w.Broker.SetDown(true, false)
	w.start(nil)
	if got := w.becomes(no, order.NotificationDelivered); got.Attempts != 2 {
		t.Errorf("notification %+v", got)
	}
}

// TestNotifier_stop: a call that is under way when the process stops ends and is recorded.
func TestNotifier_stop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	release := make(chan struct{})
	r := newReceiver(t, "whsec_ann", func(http.ResponseWriter, *http.Request) { <-release })
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free) // a test that fails must not wait for the receiver
	w.hook("ann", r.URL)
	_, _, stop := w.start(func(cfg *notify.Config) { cfg.Timeout = patience })
	no := w.paid("key")
	testkit.EventuallyTrue(t, patience, "the receiver is called", func() bool { return len(r.seen()) == 1 })
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	free()
	<-stopped
	if n := w.of("ann", no); n.State != order.NotificationDelivered && n.State != order.NotificationPending {
		t.Errorf("notification %+v: the attempt is not recorded", n)
	}
}

func TestWebhooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	guard, err := notify.NewGuard([]string{"127.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	strict := notify.Webhooks{Store: w.Orders, Guard: guard}
	lab := notify.Webhooks{Store: w.Orders, Guard: guard, HTTP: true}
	for url, want := range map[string]error{
		"https://example.com/hook?a=b": nil, "https://127.0.0.1:9595/": nil, "https://8.8.8.8/": nil, "https://[2606:4700::1]:8443/": nil,
		"http://example.com/": order.ErrInvalidWebhook, "ftp://example.com/": order.ErrInvalidWebhook, "/hook": order.ErrInvalidWebhook,
		"": order.ErrInvalidWebhook, "https://": order.ErrInvalidWebhook, "https://ann:secret@example.com/": order.ErrInvalidWebhook,
		"https://example.com/#part": order.ErrInvalidWebhook, "https://example.com:0/": order.ErrInvalidWebhook, "https://example.com:99999/": order.ErrInvalidWebhook,
		"https://bücher.example/": order.ErrInvalidWebhook, "https://example.com/a b": order.ErrInvalidWebhook,
		"https://example.com/" + strings.Repeat("x", 1100): order.ErrInvalidWebhook,
		"https://10.0.0.1/": order.ErrWebhookRefused, "https://169.254.169.254/latest": order.ErrWebhookRefused,
		"https://[::1]/": order.ErrWebhookRefused, "https://[::ffff:10.0.0.1]/": order.ErrWebhookRefused, "https://[fe80::1%25eth0]/": order.ErrWebhookRefused,
	} {
		if _, err := strict.Put(t.Context(), "ann", url); !errors.Is(err, want) {
			t.Errorf("%s: error %v, want %v", url, err, want)
		}
	}
	first, err := lab.Put(t.Context(), "bob", "http://example.com/one")
	if err != nil {
		t.Fatal(err)
	}
	second, err := lab.Put(t.Context(), "bob", "http://example.com/two")
	if err != nil || len(second.Secret) < 30 || first.Secret == second.Secret {
		t.Errorf("webhooks %+v and %+v, error %v", first, second, err)
	}
	if got, err := lab.Get(t.Context(), "bob"); err != nil || got.URL != "http://example.com/two" {
		t.Errorf("webhook %+v, error %v", got, err)
	}
	if err := lab.Delete(t.Context(), "bob"); err != nil {
		t.Error(err)
	}
	if err := lab.Delete(t.Context(), "bob"); !errors.Is(err, order.ErrUnknownWebhook) {
		t.Errorf("deleted twice: error %v", err)
	}
}
