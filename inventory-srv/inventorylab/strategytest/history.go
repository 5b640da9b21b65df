package strategytest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"holdfast/inventory-srv/internal/replicatest"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/stocktest"
)

// taking is an operation on the counter: Quantity is taken, or given back when it is negative.
type taking struct{ quantity int64 }

// outcome is its answer. A refusal says how much there was.
type outcome struct {
	refused   bool
	available int64
}

// counterOf is one SKU's stock as a buyer sees it: an order is granted if and only if there is enough, and a refusal
// that names a number names the right one.
func counterOf(units int64) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return units },
		Step: func(state, input, output any) (bool, any) {
			left, q, out := state.(int64), input.(taking).quantity, output.(outcome)
			if out.refused {
				return q > left && out.available == left, left
			}
			return q <= left, left - q
		},
		DescribeOperation: func(input, output any) string {
			return fmt.Sprintf("take %d -> %+v", input.(taking).quantity, output.(outcome))
		},
	}
}

// history is what the clients saw, with the times at which they asked and were answered.
type history struct {
	mu    sync.Mutex
	start time.Time
	ops   []porcupine.Operation
}

func (h *history) now() int64 { return int64(time.Since(h.start)) }

func (h *history) add(client int, call int64, quantity int64, out outcome) {
	ret := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: taking{quantity}, Call: call, Output: out, Return: ret})
}

// testLinearizable has a few clients take and give back in parallel, around the point where the stock runs out, and
// checks that some order of their operations, one after another, explains every answer. No sum at the end can see a
// refusal that was wrong when it was given.
func testLinearizable(t *testing.T, s shop) {
	const clients, rounds, units = 5, 12, 9
	s.Has(t, "HOT", units)
	ctx := replicatest.Soon(t)
	h := &history{start: time.Now()}
	replicatest.AtOnce(clients, func(client int) {
		var held []stock.Request
		for round := range rounds {
			if len(held) > 0 && rand.IntN(3) == 0 {
				h.release(ctx, t, s, client, held[0])
				held = held[1:]
				continue
			}
			r := replicatest.Order(fmt.Sprintf("ORDER-%d-%d", client, round), s.by, replicatest.Line("HOT", rand.Int64N(4)+1))
			if h.reserve(ctx, t, s, client, r) {
				held = append(held, r)
			}
		}
	})
	result := porcupine.CheckOperationsTimeout(counterOf(units), h.ops, replicatest.Patience)
	refusals := 0
	for _, op := range h.ops {
		if op.Output.(outcome).refused {
			refusals++
		}
	}
	if result != porcupine.Ok {
		t.Errorf("no order of these operations explains their answers: %s", result)
		for _, op := range h.ops {
			t.Logf("client %d  %8.3f - %8.3f ms  take %d -> %+v", op.ClientId, float64(op.Call)/1e6, float64(op.Return)/1e6, op.Input, op.Output)
		}
	}
	if refusals == 0 || refusals == len(h.ops) {
		t.Error("nothing was refused or nothing was sold: this run has shown nothing")
	}
	t.Logf("%d operations, %d of them refusals", len(h.ops), refusals)
}

// reserve asks until the answer is definite. Contention is no operation: nothing was executed.
func (h *history) reserve(ctx context.Context, t *testing.T, s shop, client int, r stock.Request) (held bool) {
	for ctx.Err() == nil {
		call := h.now()
		_, err := s.of(client).Reserve(ctx, r)
		switch {
		case err == nil:
			h.add(client, call, r.Lines[0].Quantity, outcome{})
			return true
		case errors.Is(err, stock.ErrOutOfStock):
			short := stocktest.ShortLines(err)
			if len(short) != 1 {
				t.Errorf("the refusal of %s names %d short lines, want its only line", r.OrderNo, len(short))
				return false
			}
			h.add(client, call, r.Lines[0].Quantity, outcome{refused: true, available: short[0].Available})
			return false
		case !errors.Is(err, stock.ErrContended):
			t.Errorf("reserve %s: %v", r.OrderNo, err)
			return false
		}
	}
	return false
}

func (h *history) release(ctx context.Context, t *testing.T, s shop, client int, r stock.Request) {
	call := h.now()
	if err := replicatest.Settle(ctx, s.of(client+1).Release, r.OrderNo); err != nil {
		t.Errorf("release %s: %v", r.OrderNo, err)
	}
	h.add(client, call, -r.Lines[0].Quantity, outcome{})
}
