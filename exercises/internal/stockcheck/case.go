// Package stockcheck is what the checks of exercises 1 to 3 share: a small stock, buyers with orders, and the questions
// that explain what went wrong with them.
package stockcheck

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"gorm.io/gorm"

	"holdfast/exercises/internal/explore"
)

// Line is one product of an order.
type Line = struct {
	SKU string
	Qty int
}

// Order is what a buyer wants.
type Order struct {
	No    string
	Lines []Line
}

// Buyer is an actor that places its orders one after the other.
type Buyer struct {
	Name   string
	Orders []Order
}

// Case is a stock, and its buyers.
type Case struct {
	DB      *gorm.DB
	Stock   map[string]int // units by SKU at the start
	Buyers  []Buyer
	Others  []explore.Actor // more actors, which are no buyers
	Session []string        // statements for each connection of a buyer

	Reserve      func(ctx context.Context, db *gorm.DB, o Order) error // the learner's code
	Refusals     []error                                               // that say that nothing was taken
	Reservations bool                                                  // the database has their table: order_no, sku, qty

	// Columns are set beside sku and available when the stock is put in place: "version": 0.
	Columns map[string]any
}

// Answer is the answer to a buyer.
type Answer struct {
	Buyer string
	Order Order
	Err   error
}

// Accepted reports that the buyer has the order.
func (a Answer) Accepted() bool { return a.Err == nil }

// Outcome is what came of a run.
type Outcome struct {
	*Case
	Run      *explore.Run
	Answers  []Answer
	Left     map[string]int            // units by SKU
	Reserved map[string]map[string]int // units by order and SKU; nil: the exercise has no reservations
}

// Scenario returns the scenario of the case. judge looks at what came of each run.
func (c *Case) Scenario(judge func(o *Outcome) *explore.Finding) explore.Scenario {
	var mu sync.Mutex
	answers := map[string][]Answer{} // by buyer
	return explore.Scenario{
		Open: func(ctx context.Context) ([]explore.Actor, error) {
			answers = map[string][]Answer{}
			told := answers // of this run: a buyer of an earlier one may still be on its way
			actors := slices.Clone(c.Others)
			for i, b := range c.Buyers {
				actors = slices.Insert(actors, i, explore.Actor{Name: b.Name, Run: func(ctx context.Context, h *explore.Handle) error {
					return c.buy(ctx, h, b, func(a Answer) {
						mu.Lock()
						defer mu.Unlock()
						told[b.Name] = append(told[b.Name], a)
					})
				}})
			}
			return actors, c.reset(ctx)
		},
		Judge: func(ctx context.Context, r *explore.Run) (*explore.Finding, error) {
			o := &Outcome{Case: c, Run: r, Left: map[string]int{}}
			mu.Lock()
			defer mu.Unlock()
			for _, b := range c.Buyers {
				o.Answers = append(o.Answers, answers[b.Name]...)
			}
			if err := o.read(ctx); err != nil {
				return nil, err
			}
			return judge(o), nil
		},
	}
}

// buy places the buyer's orders. It ends when the buyer's process is killed.
func (c *Case) buy(ctx context.Context, h *explore.Handle, b Buyer, told func(Answer)) error {
	db := h.DB(c.DB, c.Session...)
	for _, o := range b.Orders {
		err := c.Reserve(ctx, db, o)
		if ctx.Err() != nil {
			return err // killed, and nobody is told
		}
		told(Answer{Buyer: b.Name, Order: o, Err: err})
	}
	return nil
}

// reset puts the stock in place, in one transaction: it is done before every run.
func (c *Case) reset(ctx context.Context) error {
	return c.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if c.Reservations {
			if err := tx.Exec("DELETE FROM reservations").Error; err != nil {
				return fmt.Errorf("empty the reservations: %w", err)
			}
		}
		if err := tx.Exec("DELETE FROM stock").Error; err != nil {
			return fmt.Errorf("empty the stock: %w", err)
		}
		for _, sku := range slices.Sorted(maps.Keys(c.Stock)) {
			row := map[string]any{"sku": sku, "available": c.Stock[sku]}
			maps.Copy(row, c.Columns)
			if err := tx.Table("stock").Create(row).Error; err != nil {
				return fmt.Errorf("put the stock in place: %w", err)
			}
		}
		return nil
	})
}

// read reads what is stored after the run.
func (o *Outcome) read(ctx context.Context) error {
	db := o.DB.WithContext(ctx)
	var stock []struct {
		SKU       string
		Available int
	}
	if err := db.Raw("SELECT sku, available FROM stock").Scan(&stock).Error; err != nil {
		return fmt.Errorf("read the stock: %w", err)
	}
	for _, s := range stock {
		o.Left[s.SKU] = s.Available
	}
	if !o.Reservations {
		return nil
	}
	var rows []struct {
		OrderNo, SKU string
		Qty          int
	}
	if err := db.Raw("SELECT order_no, sku, SUM(qty) AS qty FROM reservations GROUP BY order_no, sku").Scan(&rows).Error; err != nil {
		return fmt.Errorf("read the reservations: %w", err)
	}
	o.Reserved = map[string]map[string]int{}
	for _, r := range rows {
		if o.Reserved[r.OrderNo] == nil {
			o.Reserved[r.OrderNo] = map[string]int{}
		}
		o.Reserved[r.OrderNo][r.SKU] = r.Qty
	}
	return nil
}

// Sold returns the units of a SKU that accepted orders have.
func (o *Outcome) Sold(sku string) int {
	n := 0
	for _, a := range o.Answers {
		if a.Accepted() {
			n += wanted(a.Order, sku)
		}
	}
	return n
}

func wanted(o Order, sku string) int {
	n := 0
	for _, l := range o.Lines {
		if l.SKU == sku {
			n += l.Qty
		}
	}
	return n
}

// held returns the units of a SKU in reservations.
func (o *Outcome) held(sku string) int {
	n := 0
	for _, lines := range o.Reserved {
		n += lines[sku]
	}
	return n
}

// SKUs returns the products in the order of their names.
func (o *Outcome) SKUs() []string { return slices.Sorted(maps.Keys(o.Stock)) }
