package lesson

import (
	"context"
	"fmt"
	"time"

	"holdfast/internal/lab/step"
	"holdfast/order-srv/orderapi"
)

func bestEffortNotification() Lesson {
	return Lesson{Name: "best-effort-notification", Scenes: bestEffortScenes, Roles: serviceRoles()}
}

// The pauses of the scenes: the first four defaults, a tenth as long, for a receiver that comes back; and short ones
// for one that does not.
const (
	awayDelays  = "NOTIFY_DELAYS=100ms,500ms,3s,30s"
	brokenTries = 4
)

func brokenDelays() []time.Duration {
	return []time.Duration{100 * time.Millisecond, 300 * time.Millisecond, time.Second}
}

// notifiedEnd is what a scene came to.
type notifiedEnd struct {
	last     orderapi.Notification // when it was delivered or given up
	resent   orderapi.Notification // after it was sent again
	attempts []time.Duration       // from the payment on
	executed int
}

func bestEffortScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	s, err := e.services(ctx)
	if err != nil {
		return nil, err
	}
	away, broken := &notifiedEnd{}, &notifiedEnd{}
	scene := func(name, delays string, stage func(n *notified) *step.Stage) step.Scene {
		return e.scene(step.T("best-effort-notification."+name), func(ctx context.Context) (*step.Stage, error) {
			n, err := s.notified(ctx, delays)
			if err != nil {
				return nil, err
			}
			open := stage(n)
			open.Look = n.look()
			return open, nil
		})
	}
	return []step.Scene{
		scene("away", awayDelays, func(n *notified) *step.Stage { return n.away(away) }),
		scene("broken", "NOTIFY_DELAYS=100ms,300ms,1s", func(n *notified) *step.Stage { return n.broken(broken) }),
		scene("receiver", awayDelays, (*notified).received),
		e.scene(step.T("best-effort-notification.results"), func(context.Context) (*step.Stage, error) {
			return &step.Stage{End: func(_ context.Context, end *step.Ending) error {
				attemptTable(away, broken, end)
				return nil
			}}, nil
		}),
	}, nil
}

// attemptTable shows when the attempts came.
func attemptTable(away, broken *notifiedEnd, end *step.Ending) {
	table := [][]any{{step.T("best-effort-notification.attempt"), step.T("best-effort-notification.away.row"), step.T("best-effort-notification.broken.row")}}
	at := func(r *notifiedEnd, i int) string {
		if i >= len(r.attempts) {
			return ""
		}
		return rounded(r.attempts[i]).String()
	}
	for i := range brokenTries {
		table = append(table, []any{i + 1, at(away, i), at(broken, i)})
	}
	end.Table(table...)
}

// away is a receiver that cannot be reached, and is back before the attempts are used up.
func (n *notified) away(r *notifiedEnd) *step.Stage {
	n.server.down.Store(true)
	const missed = 3
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "A", Steps: []step.Step{n.pays()}},
			{Name: "order-srv", Steps: []step.Step{
				n.attempts("misses", missed, ""),
				n.hurried(n.becomesNotified("delivers", "best-effort-notification.delivers.ask", orderapi.NotificationDelivered, &r.last)),
			}},
			{Name: "receiver", Steps: []step.Step{n.turns("back", func() { n.server.down.Store(false) })}},
		},
		Order: []string{"A", "order-srv", "receiver", "order-srv"},
		End: func(_ context.Context, end *step.Ending) error {
			r.attempts, r.executed = n.server.since(n.paid), n.server.Executed()
			end.Check(r.last.Attempts > missed && len(r.attempts) == r.last.Attempts && r.executed == 1, "best-effort-notification.away.claim", missed)
			return nil
		},
	}
}

// broken is a receiver that answers each attempt with 500 until the notification is given up. The buyer asks what
// became of it, mends the receiver, and has it sent again.
func (n *notified) broken(r *notifiedEnd) *step.Stage {
	n.server.failing.Store(true)
	reads := step.Step{Label: step.T("best-effort-notification.reads"), Statement: "GET /v1/orders/{order_no}/notifications", Do: func(ctx context.Context) (step.Result, error) {
		found, err := n.notification(ctx)
		return step.Result{Text: step.T("best-effort-notification.reads.got", found.State, found.Attempts, found.LastError)}, err
	}}
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "A", Steps: []step.Step{n.pays(), reads, n.resends(), n.becomesNotified("delivers", "", orderapi.NotificationDelivered, &r.resent)}},
			{Name: "order-srv", Steps: []step.Step{n.becomesNotified("gives-up", "best-effort-notification.gives-up.ask", orderapi.NotificationGivenUp, &r.last)}},
			{Name: "receiver", Steps: []step.Step{n.turns("mended", func() { n.server.failing.Store(false) })}},
		},
		Order: []string{"A", "order-srv", "A", "receiver", "A", "A"},
		End: func(_ context.Context, end *step.Ending) error {
			r.attempts, r.executed = n.server.since(n.paid), n.server.Executed()
			end.Check(r.last.Attempts == brokenTries && r.last.LastStatus == 500, "best-effort-notification.broken.claim", brokenTries)
			end.Check(neverEarly(r.attempts, brokenDelays()), "best-effort-notification.pauses.claim")
			end.Check(r.resent.Attempts == brokenTries+1 && r.executed == 1, "best-effort-notification.resent.claim")
			return nil
		},
	}
}

// neverEarly reports whether each attempt came after its pause.
func neverEarly(attempts, pauses []time.Duration) bool {
	for i, pause := range pauses {
		if i+1 >= len(attempts) || attempts[i+1]-attempts[i] < pause {
			return false
		}
	}
	return true
}

// received is the receiver's side: what is forged or replayed is refused, and an event that comes twice is executed
// once.
func (n *notified) received() *step.Stage {
	var delivered, again orderapi.Notification
	answers := map[string]int{}
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "A", Steps: []step.Step{n.pays(), n.resends()}},
			{Name: "order-srv", Steps: []step.Step{
				n.becomesNotified("delivers", "", orderapi.NotificationDelivered, &delivered),
				n.becomesNotified("delivers", "best-effort-notification.twice.ask", orderapi.NotificationDelivered, &again),
			}},
			{Name: "attacker", Steps: []step.Step{
				n.forges("forges", "whsec_guessed", 0, answers), n.forges("replays", "", 10*time.Minute, answers),
			}},
		},
		Order: []string{"A", "order-srv", "attacker", "attacker", "A", "order-srv"},
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(answers["forges"] == 400 && answers["replays"] == 400, "best-effort-notification.forged.claim")
			end.Check(again.Attempts == 2 && n.server.accepted() == 2 && n.server.Executed() == 1, "best-effort-notification.twice.claim")
			return nil
		},
	}
}

// pays is the step in which the buyer pays.
func (n *notified) pays() step.Step {
	return step.Step{Label: step.T("best-effort-notification.pays"), Statement: "POST /v1/orders/{order_no}/payment", Do: func(ctx context.Context) (step.Result, error) {
		n.paid = time.Now()
		o, err := n.session().Pay(ctx, n.orderNo)
		return step.Result{Text: step.T("best-effort-notification.pays.got", o.Status)}, err
	}}
}

// attempts is a step that waits for a number of attempts.
func (n *notified) attempts(what string, count int, ask string) step.Step {
	return step.Step{Label: step.T("best-effort-notification." + what), Ask: ask, Do: func(ctx context.Context) (step.Result, error) {
		var found orderapi.Notification
		err := n.e.Until(ctx, fmt.Sprintf("there were %d attempts", count), func(ctx context.Context) (_ bool, err error) {
			found, err = n.notification(ctx)
			return found.Attempts >= count && found.State != orderapi.NotificationSending, err
		})
		return step.Result{Text: step.T("best-effort-notification."+what+".got", found.Attempts, found.LastError)}, err
	}}
}

// becomesNotified is a step that waits until the notification has a state, after what has happened before the step.
func (n *notified) becomesNotified(what, ask, state string, into *orderapi.Notification) step.Step {
	return step.Step{Label: step.T("best-effort-notification." + what), Ask: ask, Do: func(ctx context.Context) (step.Result, error) {
		err := n.e.Until(ctx, "the notification is "+state, func(ctx context.Context) (_ bool, err error) {
			*into, err = n.notification(ctx)
			return into.State == state, err
		})
		return step.Result{Text: step.T("best-effort-notification."+what+".got", into.Attempts, rounded(time.Since(n.paid)))}, err
	}}
}

// hurried is the step of a delivery, after an attempt that is made now when a reader steps: while the reader was
// thinking, the pauses have become long. Where an attempt is due anyway, this one would be one too many.
func (n *notified) hurried(delivers step.Step) step.Step {
	await := delivers.Do
	delivers.Do = func(ctx context.Context) (step.Result, error) {
		if n.e.stepping() {
			found, err := n.notification(ctx)
			if err == nil && found.State != orderapi.NotificationDelivered {
				_, err = n.session().ResendNotification(ctx, n.orderNo, found.ID)
			}
			if err != nil {
				return step.Result{}, err
			}
		}
		return await(ctx)
	}
	return delivers
}

// turns is a step in which the receiver changes.
func (n *notified) turns(what string, change func()) step.Step {
	return step.Step{Label: step.T("best-effort-notification." + what), Do: func(context.Context) (step.Result, error) {
		change()
		return step.Result{}, nil
	}}
}

// resends is the step in which the buyer has the notification sent again. The answer may already show the next attempt.
func (n *notified) resends() step.Step {
	return step.Step{Label: step.T("best-effort-notification.resends"), Statement: "POST /v1/orders/{order_no}/notifications/{id}/resend", Do: func(ctx context.Context) (step.Result, error) {
		_, err := n.session().ResendNotification(ctx, n.orderNo, n.orderNo+":order.paid")
		return step.Result{}, err
	}}
}
