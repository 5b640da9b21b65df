package strategy

import (
	"context"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// Naive reads the stock, subtracts in Go and writes the result back, as anybody would whose program serves one buyer.
//
// Idea:        none; it is what the other strategies mend.
// Statements:  SELECT sku, available …; UPDATE … SET available = ?.
// Goes wrong:  two orders read 1, both find it enough, both write 0: one unit is sold twice, and nothing reports an error.
// That both are in transactions changes nothing, a transaction is no queue; and a COMMIT in time does not help either.
// Cost:        the two round trips of ForUpdate, without its waiting. That is why it looks so good in a benchmark.
// Choose it:   never. It refuses a SKU that is not marked for the lab.
type Naive struct {
	rowStock // Confirm and Release, which are not to blame; they meet counters that are too low
}

var _ stock.Reserver = (*Naive)(nil)

func newNaive(d Deps) stock.Reserver {
	return &Naive{rowStock{d.Ledger}}
}

// Reserve implements stock.Reserver. stock.ErrLabOnly for a SKU that is not marked for the lab.
func (s *Naive) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return s.ledger.Reserve(ctx, r, deductUnguarded)
}

// deductUnguarded is right only for one who keeps everybody else out by other means.
func deductUnguarded(tx *gorm.DB, lines []stock.Line) error {
	rows, err := readRows(tx, lines, "")
	if err != nil {
		return err
	}
	if err := rows.onlyLab(); err != nil {
		return err
	}
	if err := rows.take(lines); err != nil {
		return err
	}
	return rows.save(tx)
}
