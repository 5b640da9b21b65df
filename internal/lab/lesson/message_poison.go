package lesson

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"holdfast/internal/lab/step"
	"holdfast/pkg/mq"
)

// poison is the scene of a message that its consumer cannot handle.
type poison struct {
	m     *messageScenes
	bus   *mq.Bus
	in    *inbox
	fixed atomic.Bool // a version of the consumer that can read the message runs

	failed  int  // deliveries until the dead-letter topic
	letters int  // in it
	passed  bool // the message behind it was handled before its second delivery
	handled bool
}

// The keys and bodies of the messages. The old consumer knows no status REFUNDED.
const (
	poisonKey, poisonBody = "ORD-1", "REFUNDED"
	nextKey, nextBody     = "ORD-2", "PAID"
)

// handle is the consumer's handler.
func (p *poison) handle(ctx context.Context, m mq.Message) error {
	if err := p.in.handle(ctx, m); err != nil {
		return err
	}
	if string(m.Body) == poisonBody && !p.fixed.Load() {
		return fmt.Errorf("order %s: unknown status %s", m.Key, m.Body)
	}
	_, err := p.m.db.ExecContext(ctx, setStatus, m.Key, string(m.Body))
	return err
}

func (p *poison) sends() step.Step {
	return step.Step{Label: step.T("message-types.poison.sends"), Do: func(ctx context.Context) (step.Result, error) {
		for _, m := range []mq.Message{
			{Topic: typesTopic, Key: poisonKey, Body: []byte(poisonBody)}, {Topic: typesTopic, Key: nextKey, Body: []byte(nextBody)},
		} {
			if err := p.bus.Producer().Send(ctx, m); err != nil {
				return step.Result{}, err
			}
		}
		return step.Result{}, nil
	}}
}

// fails is a step that waits for the n-th delivery of the message.
func (p *poison) fails(n int) step.Step {
	s := step.Step{Label: step.T("message-types.poison.fails", n)}
	if n == 2 {
		s.Ask = "message-types.poison.ask"
	}
	s.Do = func(ctx context.Context) (step.Result, error) {
		err := p.m.e.Until(ctx, fmt.Sprintf("delivery %d of the message", n), func(context.Context) (bool, error) {
			return len(p.in.of(poisonKey)) >= n, nil
		})
		if err != nil {
			return step.Result{}, err
		}
		p.failed = n
		got := p.in.of(poisonKey)
		if n == 1 {
			return step.Result{Text: step.T("message-types.poison.fails.first")}, nil
		}
		after := got[n-1].at.Sub(got[n-2].at).Round(100 * time.Millisecond)
		return step.Result{Text: step.T("message-types.poison.fails.got", n, after)}, nil
	}
	return s
}

// next is a step that waits for the message behind the poison.
func (p *poison) next() step.Step {
	return step.Step{Label: step.T("message-types.poison.next"), Do: func(ctx context.Context) (step.Result, error) {
		err := p.m.e.Until(ctx, "the next message is handled", func(context.Context) (bool, error) { return len(p.in.of(nextKey)) > 0, nil })
		if err != nil {
			return step.Result{}, err
		}
		got := p.in.of(poisonKey)
		p.passed = len(got) < 2 || p.in.of(nextKey)[0].at.Before(got[1].at)
		return step.Result{}, nil
	}}
}

// lists is a step of the operator that finds the dead letter.
func (p *poison) lists() step.Step {
	return step.Step{
		Label: step.T("message-types.poison.lists"), Statement: "GET /v1/admin/dead-letters", Ask: "message-types.poison.lists.ask",
		Do: func(ctx context.Context) (step.Result, error) {
			var found []mq.DeadLetter
			err := p.m.e.Until(ctx, "there is a dead letter", func(ctx context.Context) (_ bool, err error) {
				found, err = p.bus.DeadLetters(ctx, typesGroup, 10)
				return len(found) > 0, err
			})
			if err != nil {
				return step.Result{}, err
			}
			p.letters, p.failed = len(found), len(p.in.of(poisonKey))
			return step.Result{Text: step.T("message-types.poison.lists.got", len(found), found[0].Key, found[0].Topic)}, nil
		},
	}
}

// resends is a step of the operator: a consumer that knows the status is deployed, then the letter is sent again.
func (p *poison) resends() step.Step {
	return step.Step{Label: step.T("message-types.poison.resends"), Do: func(ctx context.Context) (step.Result, error) {
		p.fixed.Store(true)
		n, err := p.bus.ResendDeadLetters(ctx, typesGroup, 10)
		return step.Result{Text: step.T("message-types.poison.resends.got", n)}, err
	}}
}

// handles is the step in which the consumer handles the message that was sent again.
func (p *poison) handles() step.Step {
	return step.Step{Label: step.T("message-types.poison.handles"), Do: func(ctx context.Context) (step.Result, error) {
		err := p.m.e.Until(ctx, "the order has the status of the message", func(ctx context.Context) (bool, error) {
			status, err := p.m.status(ctx)
			if errors.Is(err, stdsql.ErrNoRows) {
				return false, nil
			}
			return status == poisonBody, err
		})
		p.handled = err == nil
		return step.Result{}, err
	}}
}
