package e10

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"gorm.io/gorm"

	"holdfast/exercises/internal/explore"
	"holdfast/exercises/internal/judge"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
)

// world is one run: the plan, the database, and what the buyers were answered.
type world struct {
	plan
	db *gorm.DB

	mu       sync.Mutex
	receipts map[string]inventorylab.Receipt // by the buyer's name
}

func (w *world) receive(name string, r inventorylab.Receipt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.receipts[name] = r
}

// shelf is a SKU after the run: the counters of its row, and the sum of the reservations' lines.
type shelf struct {
	SKU       string
	Available int64
	Reserved  int64
	Lines     int64
}

// shelves reads what the run has left.
func (w *world) shelves(ctx context.Context) (map[string]shelf, error) {
	var rows []shelf
	err := w.db.WithContext(ctx).Raw(`SELECT s.sku, s.available, s.reserved,
			CAST(COALESCE((SELECT SUM(l.quantity) FROM all_reservation_lines l WHERE l.sku = s.sku AND l.status = 'reserved'), 0) AS SIGNED) AS ` + "`lines`" + `
		FROM stock s ORDER BY s.sku`).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read the shelves: %w", err)
	}
	all := map[string]shelf{}
	for _, r := range rows {
		all[r.SKU] = r
	}
	return all, nil
}

// judge compares the answers, the reservations and the counters. The most specific mistake comes first.
func (w *world) judge(ctx context.Context, r *explore.Run) (*explore.Finding, error) {
	shelves, err := w.shelves(ctx)
	if err != nil {
		return nil, err
	}
	for _, b := range w.buyers {
		if f := w.judgeAnswer(b, r, shelves); f != nil {
			return f, nil
		}
	}
	for _, sku := range slices.Sorted(maps.Keys(w.stock)) {
		if f := w.judgeShelf(r, shelves[sku]); f != nil {
			return f, nil
		}
	}
	return w.judgeTogether(r), nil
}

// judgeAnswer looks at one buyer's answer.
func (w *world) judgeAnswer(b buyer, r *explore.Run, shelves map[string]shelf) *explore.Finding {
	err := r.Errs[b.name]
	switch {
	case errors.Is(err, explore.ErrDied), errors.Is(err, inventoryapi.ErrContended) && len(w.buyers) > 1:
		return nil
	case errors.Is(err, inventoryapi.ErrOutOfStock):
		if w.enoughForAll(b) || w.allRefused(r) {
			return finding("refused", []any{b.name}, nil)
		}
		return nil
	case err != nil:
		if n, s := failedWrite(r, b.name); n > 0 && !w.enoughForAll(b) || n > 0 && strings.Contains(s.Result, "stock_available") {
			said, _, _ := strings.Cut(s.Result, " for `") // the rest names the database of the check
			return finding("no-guard", []any{b.name, said}, []any{n})
		}
		return finding("error", []any{b.name, err.Error()}, nil)
	}
	// The order was accepted.
	for _, l := range b.lines {
		if shelves[l.SKU].Lines == 0 {
			return finding("no-reservation", []any{b.name, l.Quantity, l.SKU}, []any{shelves[l.SKU].Reserved})
		}
	}
	return nil
}

// enoughForAll reports whether the shelves have the buyer's SKUs for all orders together.
func (w *world) enoughForAll(b buyer) bool {
	for _, l := range b.lines {
		var all int64
		counted := map[string]bool{}
		for _, other := range w.buyers {
			for _, m := range other.lines {
				if m.SKU == l.SKU && !counted[other.orderNo] {
					all += m.Quantity
				}
			}
			counted[other.orderNo] = true
		}
		if all > w.stock[l.SKU] {
			return false
		}
	}
	return true
}

// allRefused reports whether every buyer was refused although each of them alone could have been served.
func (w *world) allRefused(r *explore.Run) bool {
	for _, b := range w.buyers {
		short := slices.ContainsFunc(b.lines, func(l inventorylab.Line) bool { return l.Quantity > w.stock[l.SKU] })
		if short || !errors.Is(r.Errs[b.name], inventoryapi.ErrOutOfStock) {
			return false
		}
	}
	return true
}

// judgeShelf looks at the counters of one SKU.
func (w *world) judgeShelf(r *explore.Run, s shelf) *explore.Finding {
	units := w.stock[s.SKU]
	switch {
	case s.Lines == s.Reserved && s.Available+s.Reserved == units:
		return nil
	case s.Reserved == 0 && s.Available == units && !wroteStock(r):
		return finding("takes-nothing", []any{s.Lines, s.SKU, s.Available, s.Reserved}, nil)
	case s.Lines > s.Reserved && w.unchecked(r) > 0:
		return finding("unchecked-rows", []any{s.SKU, units, s.Lines, s.Reserved}, []any{w.unchecked(r)})
	case s.Lines > s.Reserved && len(w.buyers) > 1:
		if f := lostUpdate(r, s, units); f != nil {
			return f
		}
	case s.Reserved > s.Lines && w.repeated():
		return finding("not-idempotent", []any{w.buyers[0].orderNo, s.Lines, s.SKU, s.Reserved}, nil)
	case s.Reserved > s.Lines && r.Errs[w.buyers[0].name] != nil:
		return finding("half-done", []any{s.Reserved, s.SKU, s.Lines}, nil)
	}
	return finding("ledger", []any{s.SKU, units, s.Available, s.Reserved, s.Lines}, nil)
}

// repeated reports whether two buyers have the same order number.
func (w *world) repeated() bool {
	return len(w.buyers) > 1 && w.buyers[0].orderNo == w.buyers[1].orderNo
}

// judgeTogether looks at what only several answers together show.
func (w *world) judgeTogether(r *explore.Run) *explore.Finding {
	for i, s := range r.Steps {
		if strings.Contains(s.Result, "Deadlock") {
			return finding("deadlock", []any{s.Actor}, []any{i + 1})
		}
	}
	if w.repeated() && !reflect.DeepEqual(w.receipts[w.buyers[0].name], w.receipts[w.buyers[1].name]) {
		return finding("other-receipt", []any{w.buyers[0].orderNo}, nil)
	}
	return nil
}

// isStock reports whether a step writes the table stock.
func isStock(s explore.Step) bool {
	return s.Kind == explore.Write && strings.HasPrefix(s.Does, "UPDATE stock")
}

func wroteStock(r *explore.Run) bool { return slices.ContainsFunc(r.Steps, isStock) }

// unchecked returns the number of a step that wrote no row of stock, although its actor was answered that it has the
// units. 0: none.
func (w *world) unchecked(r *explore.Run) int {
	for i, s := range r.Steps {
		again := slices.ContainsFunc(r.Steps[i+1:], func(later explore.Step) bool { return later.Actor == s.Actor && isStock(later) && later.Changed > 0 })
		if isStock(s) && !s.Failed && s.Changed == 0 && r.Errs[s.Actor] == nil && !again {
			return i + 1
		}
	}
	return 0
}

// failedWrite returns a write that the database refused, and its number from 1.
func failedWrite(r *explore.Run, actor string) (int, explore.Step) {
	for i, s := range r.Steps {
		if s.Actor == actor && isStock(s) && s.Failed {
			return i + 1, s
		}
	}
	return 0, explore.Step{}
}

// lostUpdate finds two actors that have read the same row, without a lock, before either had written it.
func lostUpdate(r *explore.Run, s shelf, units int64) *explore.Finding {
	for i, read := range r.Steps {
		if read.Kind != explore.Read || !readsStock(read, s.SKU) {
			continue
		}
		for j := i + 1; j < len(r.Steps); j++ {
			write := r.Steps[j]
			if !isStock(write) || write.Changed == 0 || write.Actor == read.Actor {
				continue
			}
			for k := j + 1; k < len(r.Steps); k++ {
				if mine := r.Steps[k]; mine.Actor == read.Actor && isStock(mine) && mine.Changed > 0 {
					return finding("lost-update", []any{s.Lines, s.SKU, units, s.Available, s.Reserved},
						[]any{read.Actor, i + 1, write.Actor, j + 1, k + 1}, read.Actor)
				}
			}
		}
	}
	return nil
}

// readsStock reports whether a step has read the SKU's row of stock.
func readsStock(s explore.Step, sku string) bool {
	if !strings.Contains(s.Does, "FROM stock") {
		return false
	}
	return strings.Contains(s.Does, "'"+sku+"'")
}

// finding makes the finding of a mistake from its texts.
func finding(id string, what, why []any, do ...any) *explore.Finding {
	return judge.FindingIn("found", id, what, why, do)
}
