package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/crash"
	"holdfast/pkg/mq"
	"holdfast/pkg/outbox"
	"holdfast/pkg/wait"
)

// GroupNotify is the consumer group of order-notifications.
const GroupNotify = "order-notify"

const (
	parallel = 16 // attempts of this process at the same time
	perUser  = 2  // of them, of one user
	page     = 64 // due rows that one search returns

	pollInterval  = 2 * time.Second  // between two searches that nothing hastens
	gaugeInterval = 15 * time.Second // between two readings of what is due
	databaseTime  = 2 * time.Second  // of one step in the database
	messageTime   = time.Second      // of one message: a broker that hangs must not hold the slots
	stopGrace     = 3 * time.Second  // for calls under way when the process stops
	leaseMargin   = 10 * time.Second // of a claim beyond its call: for recording the outcome
)

// Config is what a Notifier is made of.
type Config struct {
	Store      *store.Store
	Guard      Guard
	Delays     Delays        // default DefaultDelays
	Timeout    time.Duration // of one attempt; default DefaultTimeout
	Poll       time.Duration // between two searches that nothing hastens; default 2 s
	Lease      time.Duration // of a claim; default 10 s more than Timeout
	Send       mq.Producer   // sends the messages that hasten
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Healed     *prometheus.CounterVec // by healer; nil: not counted
}

// Notifier sends the notifications that are due. Each replica runs one; the claims keep them apart.
type Notifier struct {
	Config
	sender  *sender
	metrics metrics
	wake    chan struct{} // has a value when something may be due

	mu       sync.Mutex
	underWay map[string]int // attempts by user
	total    int
}

// New returns a notifier. Run runs it.
func New(cfg Config) *Notifier {
	if len(cfg.Delays) == 0 {
		cfg.Delays = DefaultDelays()
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Poll == 0 {
		cfg.Poll = pollInterval
	}
	if cfg.Lease == 0 {
		cfg.Lease = cfg.Timeout + leaseMargin
	}
	return &Notifier{
		Config: cfg, sender: newSender(cfg.Guard), metrics: newMetrics(cfg.Registerer), wake: make(chan struct{}, 1), underWay: map[string]int{},
	}
}

// Kick has the notifier search at once. It never blocks.
func (n *Notifier) Kick() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Subscription receives the messages that hasten. A message that comes early, twice or never changes nothing: the row
// decides. So there is nothing to retry either.
func (n *Notifier) Subscription() mq.Subscription {
	return mq.Subscription{Group: GroupNotify, Topic: orderapi.TopicOrderNotifications, Handler: func(context.Context, mq.Message) error {
		n.Kick()
		return nil
	}}
}

// Run sends until ctx is done. Calls that are under way then have a few seconds to end, and are recorded.
func (n *Notifier) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { n.measure(ctx) })
	tick := time.NewTicker(n.Poll)
	defer tick.Stop()
	for {
		if err := n.drain(ctx, &running); err != nil && ctx.Err() == nil {
			n.Log.WarnContext(ctx, "search for due notifications failed", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-n.wake:
		}
	}
}

// drain starts attempts until nothing is due, or no slot is free. An attempt that ends wakes the notifier again.
func (n *Notifier) drain(ctx context.Context, running *sync.WaitGroup) error {
	for ctx.Err() == nil {
		claims, err := n.claim(ctx)
		if err != nil || len(claims) == 0 {
			return err
		}
		for _, c := range claims {
			running.Go(func() {
				defer n.Kick()
				defer n.leave(c.UserID)
				n.attempt(ctx, c)
			})
		}
	}
	return nil
}

// claim claims due notifications for which there are slots, and takes the slots. It returns none also when another
// replica claims the same ones at this moment: the next search finds what it leaves.
func (n *Notifier) claim(ctx context.Context) ([]store.Claim, error) {
	busy, free := n.busy()
	if free == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, databaseTime)
	defer cancel()
	due, err := n.Store.DueNotifications(ctx, busy, page)
	if err != nil || len(due) == 0 {
		return nil, err
	}
	chosen := n.choose(due)
	if len(chosen) == 0 {
		return nil, nil
	}
	claims, err := n.Store.ClaimNotifications(ctx, chosen, n.Lease)
	if err != nil {
		return nil, err
	}
	n.enter(claims)
	return claims, nil
}

// busy returns the users who have all their slots taken, and how many slots are free.
func (n *Notifier) busy() (users []string, free int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for user, attempts := range n.underWay {
		if attempts >= perUser {
			users = append(users, user)
		}
	}
	return users, parallel - n.total
}

// choose returns those of the notifications for which there is a slot, in their order. Only Run's goroutine takes
// slots, so they stay free until enter.
func (n *Notifier) choose(due []store.Addressee) (orderNos []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	chosen := map[string]int{}
	for _, a := range due {
		if n.total+len(orderNos) < parallel && n.underWay[a.UserID]+chosen[a.UserID] < perUser {
			chosen[a.UserID]++
			orderNos = append(orderNos, a.OrderNo)
		}
	}
	return orderNos
}

// enter takes the slots of the claims.
func (n *Notifier) enter(claims []store.Claim) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range claims {
		n.total++
		n.underWay[c.UserID]++
	}
}

func (n *Notifier) leave(user string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.total--
	if n.underWay[user]--; n.underWay[user] == 0 {
		delete(n.underWay, user)
	}
}

// attempt calls the receiver and records how that ended. A process that dies before or during the call, or before the
// record, leaves a claim that runs out; then the notification is sent again, perhaps for the second time.
func (n *Notifier) attempt(ctx context.Context, c store.Claim) {
	crash.At(crash.OrderNotifying)
	a, failure := n.call(ctx, c)
	if a.State == order.NotificationDelivered {
		crash.At(crash.OrderNotified)
	}
	recording, cancel := context.WithTimeout(context.WithoutCancel(ctx), databaseTime)
	defer cancel()
	if err := n.Store.EndAttempt(recording, c, a); err != nil {
		n.Log.WarnContext(ctx, "notification not recorded, it will be sent again", "order_no", c.OrderNo, "event", c.Event, "err", err)
		return
	}
	n.count(c, a)
	attrs := []any{"order_no", c.OrderNo, "event", c.Event, "attempt", c.Attempts, "status", a.Status}
	switch a.State {
	case order.NotificationDelivered:
		n.Log.DebugContext(ctx, "notification delivered", attrs...)
	case order.NotificationGivenUp:
		n.Log.WarnContext(ctx, "notification given up", append(attrs, "err", failure)...)
	default:
		n.Log.DebugContext(ctx, "notification failed", append(attrs, "pause", a.Pause, "err", failure)...)
		n.hasten(ctx, c, a.Pause)
	}
}

// errNoWebhook is the failure of a notification whose buyer has deleted the webhook.
var errNoWebhook = errors.New("the buyer has no webhook any more")

// call makes the attempt of a claim, and returns how it has ended and why it has failed. It is not cancelled at once
// when the process stops.
func (n *Notifier) call(ctx context.Context, c store.Claim) (a store.Attempted, failure error) {
	if c.Webhook.URL == "" {
		return store.Attempted{State: order.NotificationGivenUp, Failure: errNoWebhook.Error()}, errNoWebhook
	}
	calling, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.Timeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		_ = wait.Sleep(calling, stopGrace)
		cancel()
	})()
	a.Status, failure = n.sender.send(calling, c.Webhook, c.Notification)
	if failure == nil {
		a.State = order.NotificationDelivered
		return a, nil
	}
	a.State, a.Failure = order.NotificationPending, public(failure)
	var more bool
	if a.Pause, more = n.Delays.after(c.Tries); !more {
		a.State = order.NotificationGivenUp
	}
	return a, failure
}

// hasten sends a message that wakes a notifier when the next attempt is due. Without it, or when the broker has lost it
// with its disk, the next poll finds the row.
func (n *Notifier) hasten(ctx context.Context, c store.Claim, pause time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, messageTime)
	defer cancel()
	body, err := json.Marshal(orderapi.OrderNotification{OrderNo: c.OrderNo, Event: c.Event})
	if err == nil {
		m := mq.Message{Topic: orderapi.TopicOrderNotifications, Key: c.OrderNo, Body: body, DeliverAt: time.Now().Add(min(pause, outbox.MaxDelay))}
		err = n.Send.Send(ctx, m)
	}
	if err != nil {
		n.Log.DebugContext(ctx, "notification not hastened", "order_no", c.OrderNo, "err", fmt.Errorf("send order-notifications: %w", err))
	}
}
