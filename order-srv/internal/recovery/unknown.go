package recovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/order"
)

// firstOrderNo is before every order number. "" would be, too, but it has inventory wait until MySQL has everything
// that Redis has answered, which reservations of this age do not need.
const firstOrderNo = "0"

// ReleaseUnknown looks at the next page of inventory's reservations, in order-number order, and begins again after the
// last page: after the cut-off up to which an audit has proven that each reservation has its order. It releases those
// that are older than UnknownAfter and for which orders has no order, or one that has ended without them and counts as
// settled. A confirmed one is an alarm, as its units count as sold.
//
// Orders are read from the primary, and from the archive. An order is inserted before its units are reserved, so an
// order number without an order will never have one. The age is judged by inventory's database: an order number has the
// clock of the replica that made it. ReleaseUnknown must not run twice at the same time on one healer.
func (h *Healer) ReleaseUnknown(ctx context.Context) error {
	proven, err := h.Store.ProvenTo(ctx)
	if err != nil {
		return err
	}
	h.afterUnknown = max(h.afterUnknown, proven)
	page, err := h.reservations(ctx)
	if err != nil {
		return err
	}
	held, numbers := h.old(page.Reservations)
	orders, err := h.Store.Owners(ctx, numbers)
	if err != nil {
		return err
	}
	var unknown []string
	for _, no := range numbers {
		if o, ok := orders[no]; !ok || o.Status.HoldsNothing() && o.Settled {
			unknown = append(unknown, no)
		}
	}
	err = each(ctx, time.Now().Add(actTime), h.unknownLater, unknown, func(ctx context.Context, orderNo string) error {
		return h.releaseUnknown(ctx, held[orderNo], orders[orderNo].Status)
	})
	h.afterUnknown = page.After
	if page.After == "" {
		h.afterUnknown = firstOrderNo
	}
	return err
}

func (h *Healer) reservations(ctx context.Context) (inventoryapi.ReservationPage, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	page, err := h.Inventory.Reservations(ctx, h.afterUnknown, batch)
	if err != nil {
		return page, fmt.Errorf("read a page of reservations: %w", err)
	}
	return page, nil
}

// old returns the reservations that hold units and have done so for long enough.
func (h *Healer) old(page []inventoryapi.Reservation) (held map[string]inventoryapi.Reservation, orderNos []string) {
	held = map[string]inventoryapi.Reservation{}
	for _, r := range page {
		holds := r.Status == inventoryapi.StateReserved || r.Status == inventoryapi.StateConfirmed
		if holds && time.Duration(r.AgeMS)*time.Millisecond >= h.Timers.UnknownAfter {
			held[r.OrderNo] = r
			orderNos = append(orderNos, r.OrderNo)
		}
	}
	return held, orderNos
}

// releaseUnknown releases one reservation. status is empty when there is no order.
func (h *Healer) releaseUnknown(ctx context.Context, r inventoryapi.Reservation, status order.Status) error {
	if r.Status == inventoryapi.StateConfirmed {
		return h.alarm(ctx, r.OrderNo, status)
	}
	err := h.Inventory.Release(ctx, r.OrderNo)
	if errors.Is(err, inventoryapi.ErrConfirmed) { // since the page was read
		return h.alarm(ctx, r.OrderNo, status)
	}
	if err != nil {
		return fmt.Errorf("release %s, of which no order has the units: %w", r.OrderNo, err)
	}
	h.Log.WarnContext(ctx, "reconciler released units that no order has", "order_no", r.OrderNo, "status", status)
	first, err := h.Store.NoteReleased(ctx, r.OrderNo)
	if first {
		h.reconcile.Inc()
	}
	return err
}
