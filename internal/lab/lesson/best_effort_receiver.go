package lesson

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/lab/receiver"
	"holdfast/internal/lab/step"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/webhook"
)

// notified is a placed order whose buyer has a webhook in this process.
type notified struct {
	*sale
	server  *buyerServer
	secret  string
	orderNo string
	paid    time.Time
}

// notified starts order-srv and the receiver, sets the webhook and places an order.
func (s *services) notified(ctx context.Context, delays string) (*notified, error) {
	one, err := s.sale(ctx, "WEBHOOK_ALLOW=127.0.0.0/8", delays)
	if err != nil {
		return nil, err
	}
	n := &notified{sale: one}
	var url string
	if n.server, url, err = s.e.buyerServer(ctx); err != nil {
		return nil, err
	}
	hook, err := n.session().PutWebhook(ctx, orderapi.WebhookRequest{URL: url})
	if err != nil {
		return nil, err
	}
	n.secret, n.server.Secret = hook.Secret, hook.Secret // nothing is sent before the payment
	o, placed, err := n.session().Place(ctx, orderapi.PlaceRequest{
		IdempotencyKey: n.user, Items: []orderapi.PlaceItem{{SKU: n.sku, Quantity: halfOrdered}},
	})
	if err == nil && !placed {
		err = fmt.Errorf("the order is %s", o.Status)
	}
	n.orderNo = o.OrderNo
	return n, err
}

func (n *notified) session() *orderapi.Session { return n.client.As(n.user, orderapi.RoleBuyer) }

// notification is what the buyer reads.
func (n *notified) notification(ctx context.Context) (orderapi.Notification, error) {
	found, err := n.session().Notifications(ctx, n.orderNo)
	if err == nil && len(found.Notifications) != 1 {
		err = fmt.Errorf("the order has %d notifications", len(found.Notifications))
	}
	if err != nil {
		return orderapi.Notification{}, err
	}
	return found.Notifications[0], nil
}

// look shows the order and the row of the notification.
func (n *notified) look() []step.Looker {
	return []step.Looker{
		lookQuery(n.orders, step.T("services.order"), "SELECT status FROM orders WHERE user_id = ?", n.user),
		lookQuery(n.orders, step.T("best-effort-notification.notification"),
			"SELECT state, attempts, next_at, last_status, failure FROM notifications WHERE user_id = ?", n.user),
	}
}

// forges is a step in which an attacker sends a notification about the order: with a secret of its own, or, without
// one, one that was recorded so long ago.
func (n *notified) forges(what, secret string, age time.Duration, answers map[string]int) step.Step {
	return step.Step{Label: step.T("best-effort-notification." + what), Ask: "best-effort-notification." + what + ".ask", Do: func(ctx context.Context) (step.Result, error) {
		if secret == "" {
			secret = n.secret
		}
		event := webhook.Event{ID: n.orderNo + ":order.paid", Type: webhook.TypePaid, OrderNo: n.orderNo, AmountCents: 1}
		body, err := json.Marshal(event)
		if err != nil {
			return step.Result{}, err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.server.url, bytes.NewReader(body))
		if err != nil {
			return step.Result{}, err
		}
		req.Header.Set(webhook.HeaderSignature, webhook.Sign(secret, time.Now().Add(-age), body))
		req.Header.Set(webhook.HeaderEvent, event.ID)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return step.Result{}, err
		}
		answers[what] = res.StatusCode
		return step.Result{Text: step.T("best-effort-notification."+what+".got", res.StatusCode)}, res.Body.Close()
	}}
}

// buyerServer is the buyer's receiver, which may be away.
type buyerServer struct {
	receiver.Receiver
	url           string
	down, failing atomic.Bool

	mu     sync.Mutex
	came   []time.Time // the attempts of order-srv
	agreed int         // of them, those that were accepted
}

// buyerServer starts a receiver. It ends with the scene.
func (e *Env) buyerServer(ctx context.Context) (b *buyerServer, url string, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	b = &buyerServer{url: "http://" + listener.Addr().String() + "/"}
	b.Broken = func(int, time.Time) bool { return b.failing.Load() }
	b.Deliver = func(d receiver.Delivery) {
		if d.Status == http.StatusOK {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.agreed++
		}
	}
	server := &http.Server{Handler: b, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	stopped := make(chan error, 1)
	go func() { stopped <- server.Serve(listener) }()
	e.Clean(func(context.Context) error {
		err := server.Close()
		if ended := <-stopped; !errors.Is(ended, http.ErrServerClosed) {
			err = errors.Join(err, ended)
		}
		return err
	})
	return b, b.url, nil
}

// ServeHTTP implements http.Handler. A receiver that is down breaks the connection without an answer.
func (b *buyerServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get(webhook.HeaderAttempt) != "" {
		b.mu.Lock()
		b.came = append(b.came, time.Now())
		b.mu.Unlock()
	}
	if b.down.Load() {
		panic(http.ErrAbortHandler)
	}
	b.Receiver.ServeHTTP(w, r)
}

// since returns when order-srv's attempts came, counted from a time.
func (b *buyerServer) since(begin time.Time) (all []time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, at := range b.came {
		all = append(all, at.Sub(begin))
	}
	return all
}

// accepted returns how many notifications were accepted.
func (b *buyerServer) accepted() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.agreed
}
