package lesson

import (
	"context"
	"errors"
	"time"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/fault"
)

// cutSale is what a scene sells.
type cutSale struct {
	*cutShop
	sku    string
	mended time.Time
	users  map[string]string // by actor
}

// cutSale starts order-srv and brings units of a new product. The requests of the scene are recorded anew.
func (s *cutShop) cutSale(ctx context.Context, cut string) (*cutSale, error) {
	kept := s.requests[:0]
	for _, r := range s.requests {
		if r.cut != cut {
			kept = append(kept, r)
		}
	}
	s.requests = kept
	one := &cutSale{cutShop: s, sku: fresh("MUG"), users: map[string]string{}}
	for _, actor := range []string{"A", "B", "C"} {
		one.users[actor] = fresh("user-" + actor)
	}
	if err := s.startOrders(ctx, "order-srv", "NAMESRV_ADDRS="+s.net.addr); err != nil {
		return nil, err
	}
	return one, receive(ctx, s.inventory, one.sku, halfUnits)
}

// cuts is a step in which a cable is cut.
func (s *cutSale) cuts(c *cable, name string) step.Step {
	return step.Step{Label: step.T("cap-partition." + name + ".cut"), Do: func(context.Context) (step.Result, error) {
		c.Cut()
		return step.Result{}, nil
	}}
}

// mends is a step in which it is mended.
func (s *cutSale) mends(c *cable) step.Step {
	return step.Step{Label: step.T("cap-partition.mends"), Do: func(ctx context.Context) (step.Result, error) {
		s.mended = time.Now()
		return step.Result{}, c.Mend(ctx)
	}}
}

// places is a step in which an actor orders through a flow. A refusal is a result.
func (s *cutSale) places(actor, flow, ask string, r *cutRequest) step.Step {
	return step.Step{
		Label: step.T("cap-partition.orders", halfOrdered, flow), Ask: ask, Statement: "POST /v1/orders",
		Do: func(ctx context.Context) (step.Result, error) {
			begin := time.Now()
			o, _, err := s.place(ctx, actor, flow)
			if ctx.Err() != nil {
				return step.Result{}, ctx.Err()
			}
			r.took, r.answer = time.Since(begin), o.Status
			if err != nil {
				r.answer = fault.From(err).Code
			}
			return step.Result{Text: step.T("cap-partition.answered", halfOrdered, flow, r.answer, rounded(r.took))}, nil
		},
	}
}

// place sends an actor's request.
func (s *cutSale) place(ctx context.Context, actor, flow string) (o orderapi.Order, placed bool, err error) {
	return s.client.As(s.users[actor], orderapi.RoleBuyer).Place(ctx, orderapi.PlaceRequest{
		IdempotencyKey: s.users[actor], Flow: flow, Items: []orderapi.PlaceItem{{SKU: s.sku, Quantity: halfOrdered}},
	})
}

// again is a step in which A, who was refused by tx-message, orders until the order is placed.
func (s *cutSale) again(r *cutRequest) step.Step {
	return step.Step{Label: step.T("cap-partition.again"), Do: func(ctx context.Context) (step.Result, error) {
		err := s.await(ctx, "an order is placed", func(ctx context.Context) (bool, error) {
			o, _, err := s.place(ctx, "A", "tx-message")
			return err == nil && o.Status == orderapi.StatusPlaced, ctx.Err()
		})
		r.agreed, r.agrees = time.Since(s.mended), err == nil
		return step.Result{Text: step.T("cap-partition.again.got", rounded(r.agreed))}, err
	}}
}

// becomes is a step that waits until an actor's order has a status and a number of its units is reserved or sold.
func (s *cutSale) becomes(actor, status, ask string, r *cutRequest) step.Step {
	return step.Step{Label: step.T("cap-partition.becomes", actor), Ask: ask, Do: func(ctx context.Context) (step.Result, error) {
		state := inventoryapi.StateReserved
		if status == orderapi.StatusPaid {
			state = inventoryapi.StateConfirmed
		}
		err := s.await(ctx, "both databases agree", func(ctx context.Context) (bool, error) {
			o, got, err := s.state(ctx, actor)
			if err != nil {
				return false, ctx.Err() // inventory-srv opens its connections again
			}
			return o.status == status && got == state, nil
		})
		r.agreed, r.agrees = time.Since(s.mended), err == nil
		return step.Result{Text: step.T("cap-partition.becomes.got", actor, status, state, rounded(r.agreed))}, err
	}}
}

// await waits for a condition. After a cut that a thinking reader has made long, a retry may come late.
func (s *cutSale) await(ctx context.Context, what string, condition func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, s.e.patience(time.Minute))
	defer cancel()
	return until(ctx, what, condition)
}

// state is an actor's order, and its reservation in inventory's database.
func (s *cutSale) state(ctx context.Context, actor string) (o found, reservation string, err error) {
	if o, err = s.find(ctx, s.users[actor]); err != nil || o.number == "" {
		return o, "", err
	}
	states, err := s.inventory.States(ctx, []string{o.number})
	return o, states[o.number], err
}

// reads is a step in which the product is read at the replica that has lost Redis.
func (s *cutSale) reads(r *cutRequest) step.Step {
	return step.Step{Label: step.T("cap-partition.reads"), Statement: "GET /v1/products/" + s.sku, Do: func(ctx context.Context) (step.Result, error) {
		begin := time.Now()
		p, err := s.inventory.Product(ctx, s.sku)
		if err != nil {
			return step.Result{}, err
		}
		r.took, r.answer, r.agrees = time.Since(begin), "200", true
		return step.Result{Text: step.T("cap-partition.reads.got", p.Available, rounded(r.took))}, nil
	}}
}

// pays is a step in which C pays. inventory-srv still has the units reserved then.
func (s *cutSale) pays(r *cutRequest) step.Step {
	return step.Step{Label: step.T("cap-partition.pays"), Statement: "POST /v1/orders/{order_no}/payment", Do: func(ctx context.Context) (step.Result, error) {
		o, err := s.find(ctx, s.users["C"])
		if err != nil {
			return step.Result{}, err
		}
		begin := time.Now()
		paid, err := s.client.As(s.users["C"], orderapi.RoleBuyer).Pay(ctx, o.number)
		if err != nil {
			return step.Result{}, err
		}
		r.took, r.answer = time.Since(begin), paid.Status
		_, state, err := s.state(ctx, "C")
		if err == nil && state != inventoryapi.StateReserved {
			err = errors.New("inventory-srv has received the payment over a cable that is cut")
		}
		return step.Result{Text: step.T("cap-partition.pays.got", r.answer, rounded(r.took), state)}, err
	}}
}

// look shows the orders of the scene and the stock row.
func (s *cutSale) look() []step.Looker {
	return []step.Looker{
		lookQuery(s.orders, step.T("services.order"), "SELECT user_id, status, flow, reason FROM orders WHERE user_id IN (?, ?, ?) ORDER BY order_no",
			s.users["A"], s.users["B"], s.users["C"]),
		lookQuery(s.stock, step.T("step.row"), "SELECT available, reserved, sold FROM stock WHERE sku = ?", s.sku),
	}
}
