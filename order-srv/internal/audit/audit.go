// Package audit reads both services' ledgers, page by page, and has the checker judge them.
package audit

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"time"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/check"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
)

const (
	page   = 500
	healed = 10 // of the newest healings that a report shows

	maxLetters = 100             // of the messages that were given up
	letterTime = 3 * time.Second // for reading them
)

// Inventory is what an audit reads of inventory-srv.
type Inventory interface {
	Reservations(ctx context.Context, after string, limit int) (inventoryapi.ReservationPage, error)
	Audit(ctx context.Context) (inventoryapi.Ledger, error)
}

// HalfMessages is what an audit asks of the check-back.
type HalfMessages struct {
	Undecided func() (n int, oldest time.Duration)
	LateAfter time.Duration // an older one is a finding
}

// Letters lists the messages that were given up. What it returns beside an error is what it could read.
type Letters interface {
	List(ctx context.Context, limit int) ([]orderapi.DeadLetter, error)
}

// Run reads orders first, then reservations, then the stock's ledger, and checks them against each other.
func Run(ctx context.Context, s *store.Store, inventory Inventory, halves HalfMessages, given Letters) (check.Report, error) {
	started, err := s.Now(ctx)
	if err != nil {
		return check.Report{}, err
	}
	messages := check.Messages{LateAfter: halves.LateAfter}
	messages.Undecided, messages.OldestUndecided = halves.Undecided()
	messages.Unsent, messages.OldestUnsent, err = s.OutboxState(ctx)
	if err != nil {
		return check.Report{}, err
	}
	healings, err := healings(ctx, s)
	if err != nil {
		return check.Report{}, err
	}
	return check.Run(check.Input{
		Started: started, Messages: messages, Healed: healings, Letters: letters(ctx, given),
		Orders:       orders(ctx, s),
		Reservations: reservations(ctx, inventory),
		Ledger:       func() (check.Ledger, error) { return ledger(ctx, inventory) },
	})
}

// letters reads messages that were given up. A broker that is away must not keep the rest from being checked.
func letters(ctx context.Context, given Letters) check.Letters {
	ctx, cancel := context.WithTimeout(ctx, letterTime)
	defer cancel()
	var l check.Letters
	found, err := given.List(ctx, maxLetters)
	for _, d := range found {
		l.Found = append(l.Found, check.Letter{Source: d.Source, Topic: d.Topic, Key: d.Key, Reason: d.Reason})
	}
	l.Err = err
	return l
}

func healings(ctx context.Context, s *store.Store) ([]check.Healing, error) {
	found, err := s.Healings(ctx, healed)
	if err != nil {
		return nil, err
	}
	out := make([]check.Healing, len(found))
	for i, h := range found {
		out[i] = check.Healing{OrderNo: h.OrderNo, Healer: string(h.Healer), Action: h.Action, At: h.HealedAt}
	}
	return out, nil
}

func orders(ctx context.Context, s *store.Store) iter.Seq2[check.Order, error] {
	return func(yield func(check.Order, error) bool) {
		for after := ""; ; {
			found, err := s.After(ctx, after, page)
			if err != nil {
				yield(check.Order{}, err)
				return
			}
			for _, o := range found {
				if !yield(convert(o), nil) {
					return
				}
			}
			if len(found) < page {
				return
			}
			after = found[len(found)-1].OrderNo
		}
	}
}

func convert(o order.Order) check.Order {
	lines := make(map[string]int64, len(o.Items))
	for _, it := range o.Items {
		lines[it.SKU] = it.Quantity
	}
	return check.Order{
		OrderNo: o.OrderNo, User: o.UserID, Key: cmp.Or(o.IdempotencyKey, o.FreedKey),
		Status: string(o.Status), Settled: !o.SettledAt.IsZero(), Lines: lines, ExpiresAt: o.ExpiresAt,
	}
}

func reservations(ctx context.Context, inventory Inventory) iter.Seq2[check.Reservation, error] {
	return func(yield func(check.Reservation, error) bool) {
		for after := ""; ; {
			p, err := inventory.Reservations(ctx, after, page)
			if err != nil {
				yield(check.Reservation{}, err)
				return
			}
			for _, r := range p.Reservations {
				lines := make(map[string]int64, len(r.Lines))
				for _, l := range r.Lines {
					lines[l.SKU] = l.Quantity
				}
				if !yield(check.Reservation{OrderNo: r.OrderNo, Status: r.Status, CreatedAt: r.CreatedAt, Lines: lines}, nil) {
					return
				}
			}
			if p.After == "" {
				return
			}
			after = p.After
		}
	}
}

func ledger(ctx context.Context, inventory Inventory) (check.Ledger, error) {
	l, err := inventory.Audit(ctx)
	if err != nil {
		return check.Ledger{}, fmt.Errorf("inventory's ledger: %w", err)
	}
	out := check.Ledger{SKUs: make([]check.SKU, len(l.SKUs))}
	for i, e := range l.SKUs {
		out.SKUs[i] = check.SKU{
			SKU: e.SKU, Inbound: e.Inbound, Available: e.Available, Reserved: e.Reserved, Sold: e.Sold,
			LinesReserved: e.LinesReserved, LinesConfirmed: e.LinesConfirmed,
		}
	}
	for _, loss := range l.Losses {
		out.Losses = append(out.Losses, check.Loss(loss))
	}
	return out, nil
}
