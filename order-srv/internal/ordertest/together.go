package ordertest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/app"
	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/intake"
	"holdfast/order-srv/orderapi"
)

// OneGroup has a group keep the next one waiting however long it takes, and gives it all orders that have waited.
func OneGroup(cfg *app.Config) {
	cfg.Overlap, cfg.RequestTimeout, cfg.PendingGrace = time.Hour, groupTimeout, groupTimeout+time.Second
	cfg.GroupLimit = func() int { return flow.MaxGroup }
}

// groupTimeout is that of a request in a world of OneGroup: hundreds of buyers come to their group one after the other.
const groupTimeout = 20 * time.Second

// Buyer is a request for an order and what became of it.
type Buyer struct {
	Ctx     context.Context // default that of the test
	User    string          // default ann
	Request orderapi.PlaceRequest

	Reply orderapi.Reply
	Err   error
	Done  time.Time
}

// firstSKU is what the order has that makes the others wait for their group.
const firstSKU = "FIRST"

// Together has buyers place their orders in one group, in their order, and returns when all have their answers. The
// world is to be one of [OneGroup]. answer is how inventory treats each of their orders; nil: OK.
func (w *World) Together(buyers []*Buyer, answer func(o inventoryapi.ReserveOrder) Answer) {
	w.t.Helper()
	w.TogetherAt(w.Intake, buyers, answer, func() {})
}

// TogetherAt is Together at one replica. It calls queued when the buyers wait for their group.
func (w *World) TogetherAt(in *intake.Intake, buyers []*Buyer, answer func(o inventoryapi.ReserveOrder) Answer, queued func()) {
	w.t.Helper()
	release := make(chan struct{})
	w.Inventory.Choose(func(o inventoryapi.ReserveOrder) Answer {
		switch {
		case o.Lines[0].SKU == firstSKU:
			return Then(func(string) { <-release }, OK)
		case answer != nil:
			return answer(o)
		}
		return OK
	})
	var running sync.WaitGroup
	defer running.Wait()
	begun := w.Inventory.Attempts()
	running.Go(func() {
		key := fmt.Sprintf("first-%d", begun)
		r, err := in.Place(w.t.Context(), "first", orderapi.PlaceRequest{IdempotencyKey: key, Items: []orderapi.PlaceItem{{SKU: firstSKU, Quantity: 1}}})
		if err != nil {
			w.t.Errorf("the first order: reply %d, error %v", r.Status, err)
		}
	})
	testkit.EventuallyTrue(w.t, groupTimeout, "the first order waits in inventory", func() bool { return w.Inventory.Attempts() > begun })
	for i, b := range buyers {
		if b.Ctx == nil {
			b.Ctx = w.t.Context()
		}
		if b.User == "" {
			b.User = "ann"
		}
		running.Go(func() {
			b.Reply, b.Err = in.Place(b.Ctx, b.User, b.Request)
			b.Done = time.Now()
		})
		testkit.EventuallyTrue(w.t, groupTimeout, "the order waits for its group", func() bool { return in.Queued() == i+1 })
	}
	queued()
	close(release)
}
