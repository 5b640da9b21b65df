package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/database"
	"holdfast/sql"
)

// participant is what inventory does in a global transaction.
type participant interface {
	Prepare(ctx context.Context, r stock.Request, deduct store.Move) (stock.Receipt, error)
	Commit(ctx context.Context, orderNo string) error
	Rollback(ctx context.Context, orderNo string) error
}

// participantMistake is a guard of the participant that is left out, and the story in which it is missed. A story
// returns what the coordinator was told wrongly.
type participantMistake struct {
	name  string
	guard string
	make  func(w *branchWorld) participant
	story func(w *branchWorld, p participant) (wrong []string)
	finds string
}

// What can be found.
const (
	foundHeld  = "units held for an order that was aborted"
	foundShort = "a reservation without its units"
	foundLie   = "told that a branch was committed that was rolled back"
	foundKept  = "told that a branch was rolled back that was committed"
)

func participantMistakes() []participantMistake {
	return []participantMistake{
		{"no-fence", "a tombstone refuses a PREPARE that comes after the abort", func(w *branchWorld) participant { return noFence{w.right, w.db} }, latePrepare, foundHeld},
		{"prepares-refusals", "what is refused is rolled back, and not prepared", func(w *branchWorld) participant { return preparesRefusals{w.right} }, tooFewUnits, foundShort},
		{"unknown-is-committed", "an unknown branch is committed only if its reservation is there", func(w *branchWorld) participant { return unknownIsDone{w.right, w.db} }, commitAfterRollback, foundLie},
		{"unknown-is-rolled-back", "an unknown branch is rolled back only if its reservation is not there", func(w *branchWorld) participant { return unknownIsDone{w.right, w.db} }, rollbackAfterCommit, foundKept},
	}
}

// noFence takes a tombstone for the rest of an older order.
type noFence struct {
	participant
	db *gorm.DB
}

func (n noFence) Prepare(ctx context.Context, r stock.Request, deduct store.Move) (stock.Receipt, error) {
	if _, err := database.Exec(ctx, n.db, "DELETE FROM reservations WHERE order_no = ? AND strategy = ''", r.OrderNo); err != nil {
		return stock.Receipt{}, err
	}
	return n.participant.Prepare(ctx, r, deduct)
}

// preparesRefusals prepares what is there, also after a refusal: the coordinator will roll back, will it not?
type preparesRefusals struct{ participant }

func (p preparesRefusals) Prepare(ctx context.Context, r stock.Request, deduct store.Move) (stock.Receipt, error) {
	return p.participant.Prepare(ctx, r, func(tx *gorm.DB, lines []stock.Line) error {
		_ = deduct(tx, lines)
		return nil
	})
}

// unknownIsDone takes an unknown branch for one that has ended as the caller wants.
type unknownIsDone struct {
	participant
	db *gorm.DB
}

func (u unknownIsDone) Commit(ctx context.Context, orderNo string) error {
	_, err := database.NewBranches(u.db).Commit(ctx, orderNo)
	return err
}

func (u unknownIsDone) Rollback(ctx context.Context, orderNo string) error {
	_, err := database.NewBranches(u.db).Rollback(ctx, orderNo)
	return err
}

// branchWorld is an inventory with 3 units of MUG.
type branchWorld struct {
	*testing.T
	db     *gorm.DB
	ledger *store.Ledger
	right  *store.Branches
}

const branchUnits = 3

func newBranchWorld(t *testing.T) *branchWorld {
	t.Helper()
	db := dbtest.New(t, sql.Inventory())
	s := store.New(db, strategy.Layouts())
	mustStock(t, s, branchUnits)
	return &branchWorld{t, db, s.Ledger(), s.Ledger().Branches(nil)}
}

func mugs(orderNo string, n int64) stock.Request {
	return stock.Request{OrderNo: orderNo, Strategy: "conditional", Lines: []stock.Line{{SKU: "MUG", Quantity: n}}}
}

// takeUnits deducts as the strategy conditional does.
func takeUnits(tx *gorm.DB, lines []stock.Line) error {
	for _, l := range lines {
		res := tx.Exec("UPDATE stock SET available = available - ?, reserved = reserved + ? WHERE sku = ? AND available >= ?", l.Quantity, l.Quantity, l.SKU, l.Quantity)
		if res.Error != nil {
			return res.Error
		}
		if res.RowsAffected == 0 {
			return stock.ErrOutOfStock
		}
	}
	return nil
}

func (w *branchWorld) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// latePrepare: the coordinator aborts before its PREPARE arrives.
func latePrepare(w *branchWorld, p participant) []string {
	w.must(p.Rollback(w.Context(), "A"))
	w.must(w.ledger.Release(w.Context(), "A", nil)) // writes the tombstone
	if _, err := p.Prepare(w.Context(), mugs("A", 2), takeUnits); err != nil && !errors.Is(err, stock.ErrClosed) {
		w.Fatal(err)
	}
	list, err := w.right.List(w.Context())
	w.must(err)
	if len(list) > 0 {
		return []string{fmt.Sprint(foundHeld, ": ", list)}
	}
	return nil
}

// tooFewUnits: the coordinator believes in what it gets a receipt for.
func tooFewUnits(w *branchWorld, p participant) []string {
	if _, err := p.Prepare(w.Context(), mugs("A", branchUnits+1), takeUnits); err == nil {
		w.must(p.Commit(w.Context(), "A"))
	} else if !errors.Is(err, stock.ErrOutOfStock) {
		w.Fatal(err)
	}
	return nil
}

// commitAfterRollback: an operator has rolled back what the coordinator has decided to commit.
func commitAfterRollback(w *branchWorld, p participant) []string {
	_, err := p.Prepare(w.Context(), mugs("A", 2), takeUnits)
	w.must(err)
	w.must(w.right.Rollback(w.Context(), "A"))
	if err := p.Commit(w.Context(), "A"); err == nil {
		return []string{foundLie}
	} else if !errors.Is(err, stock.ErrUnknownOrder) {
		w.Fatal(err)
	}
	return nil
}

// rollbackAfterCommit: an operator has committed what the coordinator has decided to abort.
func rollbackAfterCommit(w *branchWorld, p participant) []string {
	_, err := p.Prepare(w.Context(), mugs("A", 2), takeUnits)
	w.must(err)
	w.must(w.right.Commit(w.Context(), "A"))
	if err := p.Rollback(w.Context(), "A"); err == nil {
		return []string{foundKept}
	} else if !errors.Is(err, stock.ErrMismatch) {
		w.Fatal(err)
	}
	return nil
}

// units compares the counters of the stock with the reservations.
func (w *branchWorld) units() []string {
	var reserved, promised int64
	w.must(w.db.Raw("SELECT reserved FROM stock WHERE sku = 'MUG'").Row().Scan(&reserved))
	w.must(w.db.Raw(`SELECT COALESCE(SUM(l.quantity), 0) FROM all_reservation_lines AS l JOIN reservations AS r ON r.order_no = l.order_no
		WHERE r.status = 'reserved'`).Row().Scan(&promised))
	if reserved != promised {
		return []string{fmt.Sprintf("%s: %d units reserved, %d promised", foundShort, reserved, promised)}
	}
	return nil
}

// TestBranches_Mutants takes the guards of inventory's half of two-phase commit away, one by one: what each is against
// happens then. With all guards the same story leaves nothing to be found.
func TestBranches_Mutants(t *testing.T) {
	t.Parallel()
	for _, m := range participantMistakes() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			right := newBranchWorld(t)
			if found := append(m.story(right, right.right), right.units()...); len(found) > 0 {
				t.Errorf("with its guard (%s): %v", m.guard, found)
			}
			w := newBranchWorld(t)
			found := append(m.story(w, m.make(w)), w.units()...)
			if !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, m.finds) }) {
				t.Errorf("without its guard (%s): %v; want %q", m.guard, found, m.finds)
			}
			t.Logf("without its guard (%s): %v", m.guard, found)
		})
	}
}
