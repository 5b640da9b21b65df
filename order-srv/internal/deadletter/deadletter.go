// Package deadletter lists the messages that were given up, and has them sent again: those of both services' outboxes,
// which a relay parked, and those of the broker, which a consumer gave up.
package deadletter

import (
	"context"
	"errors"
	"fmt"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/mq"
)

// Broker is what is needed of the message bus.
type Broker interface {
	DeadLetters(ctx context.Context, group string, limit int) ([]mq.DeadLetter, error)
	ResendDeadLetters(ctx context.Context, group string, limit int) (int, error)
}

var _ Broker = (*mq.Bus)(nil)

// Inventory is what is needed of inventory-srv.
type Inventory interface {
	Outbox(ctx context.Context, limit int) (inventoryapi.Outbox, error)
	ResendParked(ctx context.Context, limit int) (int, error)
}

var _ Inventory = (*inventoryapi.Client)(nil)

// ErrUnknownSource is a source that is neither an outbox nor a consumer group of the shop.
var ErrUnknownSource = fault.New(fault.Invalid, "unknown_source", "the source is outbox, inventory-outbox or a consumer group")

// Letters are the dead letters of the shop.
type Letters struct {
	store     *store.Store
	inventory Inventory
	broker    Broker
	groups    []string
}

// New returns the dead letters of both outboxes and of these consumer groups.
func New(s *store.Store, inventory Inventory, broker Broker, groups ...string) *Letters {
	return &Letters{store: s, inventory: inventory, broker: broker, groups: groups}
}

// List returns up to limit dead letters, those of the outboxes first. Errors: those of the database, of inventory-srv,
// and mq.ErrUnavailable, beside which it returns what it has found until then.
func (l *Letters) List(ctx context.Context, limit int) ([]orderapi.DeadLetter, error) {
	found, err := l.parked(ctx, limit)
	if err != nil {
		return nil, err
	}
	parked, unread := l.parkedAtInventory(ctx, limit-len(found))
	found = append(found, parked...)
	for _, group := range l.groups {
		if len(found) >= limit {
			break
		}
		dead, err := l.broker.DeadLetters(ctx, group, limit-len(found))
		if err != nil {
			return found, errors.Join(unread, err)
		}
		for _, d := range dead {
			found = append(found, orderapi.DeadLetter{
				Source: group, ID: d.ID, Topic: d.Topic, Key: d.Key, Body: string(d.Body), Reason: "given up by its consumer", At: d.DeadAt,
			})
		}
	}
	return found, unread
}

func (l *Letters) parked(ctx context.Context, limit int) ([]orderapi.DeadLetter, error) {
	parked, err := l.store.Outbox().Parked(ctx, limit)
	if err != nil {
		return nil, err
	}
	found := make([]orderapi.DeadLetter, 0, len(parked))
	for _, p := range parked {
		found = append(found, orderapi.DeadLetter{
			Source: orderapi.SourceOutbox, ID: p.EventID, Topic: p.Topic, Key: p.ShardKey, Body: p.Payload,
			Reason: fmt.Sprintf("%s (%d attempts)", p.Failure, p.Attempts), At: p.ParkedAt,
		})
	}
	return found, nil
}

// parkedAtInventory returns none when the replica that answers is of an earlier version, which has no outbox.
func (l *Letters) parkedAtInventory(ctx context.Context, limit int) ([]orderapi.DeadLetter, error) {
	if limit == 0 {
		return nil, nil
	}
	outbox, err := l.inventory.Outbox(ctx, limit)
	if err != nil && fault.KindOf(err) != fault.NotFound {
		return nil, fmt.Errorf("read inventory's outbox: %w", err)
	}
	found := make([]orderapi.DeadLetter, 0, len(outbox.Parked))
	for _, p := range outbox.Parked {
		found = append(found, orderapi.DeadLetter{
			Source: orderapi.SourceInventoryOutbox, ID: p.EventID, Topic: p.Topic, Key: p.Key, Body: p.Body,
			Reason: fmt.Sprintf("%s (%d attempts)", p.Failure, p.Attempts), At: p.ParkedAt,
		})
	}
	return found, nil
}

// Resend has up to limit dead letters of a source sent again, the oldest first; of all sources when source is empty. A
// source that cannot be reached does not keep those of the others. It returns how many, also beside an error. Errors:
// ErrUnknownSource, and those of List.
func (l *Letters) Resend(ctx context.Context, source string, limit int) (sent int, err error) {
	known := false
	var failures []error
	for _, s := range append([]string{orderapi.SourceOutbox, orderapi.SourceInventoryOutbox}, l.groups...) {
		if source != "" && source != s {
			continue
		}
		known = true
		if sent >= limit {
			break
		}
		n, err := l.resend(ctx, s, limit-sent)
		sent += n
		failures = append(failures, err)
	}
	if !known {
		return 0, ErrUnknownSource.With("source", source)
	}
	return sent, errors.Join(failures...)
}

func (l *Letters) resend(ctx context.Context, source string, limit int) (int, error) {
	switch source {
	case orderapi.SourceOutbox:
		return l.store.Outbox().ResendParked(ctx, limit)
	case orderapi.SourceInventoryOutbox:
		n, err := l.inventory.ResendParked(ctx, limit)
		if fault.KindOf(err) == fault.NotFound { // as in parkedAtInventory
			return 0, nil
		}
		return n, err
	}
	return l.broker.ResendDeadLetters(ctx, source, limit)
}
