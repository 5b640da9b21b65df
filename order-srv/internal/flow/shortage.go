package flow

import (
	"context"
	"time"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/shortage"
)

// observed is an inventory whose answers are remembered, except to orders that name a strategy.
type observed struct {
	Inventory
	memory *shortage.Memory
}

var _ Inventory = observed{}

// Reserve implements Inventory.
func (o observed) Reserve(ctx context.Context, orders []inventoryapi.ReserveOrder) ([]inventoryapi.ReserveResult, error) {
	called := time.Now()
	results, err := o.Inventory.Reserve(ctx, orders)
	if err != nil || len(results) != len(orders) {
		return results, err
	}
	for i, r := range results {
		switch {
		case orders[i].Strategy != "":
		case r.Problem != nil:
			o.memory.Refused(inventoryapi.ShortLines(r.Problem.Fault()), called)
		case r.Receipt != nil:
			o.memory.Served(orders[i].Lines)
		}
	}
	return results, nil
}
