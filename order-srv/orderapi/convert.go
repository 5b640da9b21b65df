package orderapi

import (
	"time"

	"holdfast/order-srv/internal/order"
)

// From is an order as clients see it.
func From(o order.Order) Order {
	out := Order{
		OrderNo: o.OrderNo, Status: string(o.Status), Reason: o.Reason, Strategy: o.Strategy, AmountCents: o.AmountCents, Items: make([]Item, len(o.Items)),
		CreatedAt: o.CreatedAt, ExpiresAt: optional(o.ExpiresAt), PaidAt: optional(o.PaidAt),
	}
	for i, it := range o.Items {
		out.Items[i] = Item{SKU: it.SKU, Quantity: it.Quantity, Title: it.Title, UnitPriceCents: it.UnitPriceCents}
	}
	return out
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
