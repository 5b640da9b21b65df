package scale

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"holdfast/internal/lab/bench"
	"holdfast/internal/lab/load"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/wait"
)

const (
	buyers     = 64
	placing    = 8 * time.Second // of which a quarter is warm-up; much less than paymentTimeout
	atRest     = 5 * time.Second
	maxPaid    = 2000 // orders of a round
	lists      = 1000
	stale      = 2000 // orders that the sweeper is given
	repeatLine = 500  // rows of one statement
)

// Operation is a piece of the shop's work.
type Operation struct {
	Name string
	Unit string
}

// The operations, in the order in which a round measures them.
func operations() []Operation {
	return []Operation{
		{"place", "order"},
		{"pay", "order"},
		{"expire", "order"},
		{"relay", "message"},
		{"reconcile", "order"},
		{"sweep", "order"},
		{"list", "page of 20"},
		{"at rest", "second"},
		{"audit", "audit"},
	}
}

// Cost is what one unit of an operation cost.
type Cost struct {
	Shop      string  `json:"shop"`   // empty or full
	Orders    int     `json:"orders"` // that the full shop had
	Round     int     `json:"round"`
	Operation string  `json:"operation"`
	Units     int     `json:"units"`
	Wall      float64 `json:"wall_us"`
	CPU       float64 `json:"cpu_us"` // of all processes but this one
	Statement float64 `json:"statements"`
	Rows      float64 `json:"rows_read"`
}

// round measures all operations in a shop. The orders of a round are younger than from.
type round struct {
	s    *site
	name string
	from string // order number
	paid []string
	add  func(op string, units int, took time.Duration, used bench.Counters)
}

func (r *round) run(ctx context.Context) error {
	r.from = ulid.Make().String()
	for _, step := range []func(context.Context) error{r.place, r.pay, r.expire, r.relay, r.reconcile, r.sweep, r.list, r.rest, r.audit} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// measure measures fn, which returns how many units it did.
func (r *round) measure(ctx context.Context, op string, fn func() (int, error)) error {
	before, err := r.s.meter.Read(ctx)
	if err != nil {
		return err
	}
	begun := time.Now()
	units, err := fn()
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	took := time.Since(begun)
	after, err := r.s.meter.Read(ctx)
	if err != nil {
		return err
	}
	r.add(op, units, took, after.Since(before))
	return nil
}

// place has buyers place orders of one product.
func (r *round) place(ctx context.Context) error {
	var before bench.Counters
	var failed error
	run := load.Run{
		Target: r.s.target, Name: r.name, Connections: buyers, Time: placing, Deadline: time.Second,
		Began: func() { before, failed = r.s.meter.Read(ctx) },
	}
	tally, took := run.Closed(ctx)
	after, err := r.s.meter.Read(ctx)
	if failed != nil || err != nil {
		return fmt.Errorf("place: read the counters: %w, %w", failed, err)
	}
	placed := int(tally.Good.Load() + tally.Late.Load())
	if placed == 0 {
		return fmt.Errorf("place: no order was placed: %d refused, %d other answers, %d without an answer",
			tally.Refused.Load(), tally.Other.Load()+tally.Unavailable.Load(), tally.Broken.Load())
	}
	r.add("place", placed, took, after.Since(before))
	return nil
}

// pay pays orders, and waits until inventory has confirmed them and order-srv knows.
func (r *round) pay(ctx context.Context) error {
	type placed struct{ no, user string }
	rows, err := r.s.pool.QueryContext(ctx, "SELECT order_no, user_id FROM orders WHERE order_no > ? AND status = 'PLACED' ORDER BY order_no DESC LIMIT ?", r.from, maxPaid)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // Err below
	var orders []placed
	for rows.Next() {
		var o placed
		if err := rows.Scan(&o.no, &o.user); err != nil {
			return err
		}
		orders = append(orders, o)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return r.measure(ctx, "pay", func() (int, error) {
		err := each(orders, func(o placed) error { return r.s.call(ctx, o.user, "POST", "/v1/orders/"+o.no+"/payment") })
		if err != nil {
			return 0, err
		}
		for _, o := range orders {
			r.paid = append(r.paid, o.no)
		}
		return len(orders), r.settled(ctx)
	})
}

// settled waits until inventory is known to agree with every paid order of the round.
func (r *round) settled(ctx context.Context) error {
	return r.s.none(ctx, "paid orders that are not settled", "SELECT COUNT(*) FROM orders WHERE order_no >= ? AND status = 'PAID' AND settled_at IS NULL",
		r.paid[len(r.paid)-1])
}

// relay puts the payments' messages into the outbox once more. They change nothing.
func (r *round) relay(ctx context.Context) error {
	err := r.insert(ctx, r.paid, "INSERT INTO outbox (event_id, topic, shard, shard_key, payload, created_at) VALUES ",
		"(CONCAT(?, ':again'), '"+orderapi.TopicOrderEvents+"', CRC32(?) MOD 16, ?, JSON_OBJECT('order_no', ?, 'status', 'PAID'), UTC_TIMESTAMP(6))", 4)
	if err != nil {
		return fmt.Errorf("write messages: %w", err)
	}
	return r.measure(ctx, "relay", func() (int, error) {
		return len(r.paid), r.s.none(ctx, "unsent messages", "SELECT COUNT(*) FROM outbox WHERE sent_at IS NULL AND topic = ?", orderapi.TopicOrderEvents)
	})
}

// insert executes a statement with a row for each order, whose marks are all the order's number.
func (r *round) insert(ctx context.Context, numbers []string, statement, row string, marks int) error {
	for begin := 0; begin < len(numbers); begin += repeatLine {
		chunk := numbers[begin:min(begin+repeatLine, len(numbers))]
		args := make([]any, 0, marks*len(chunk))
		for _, no := range chunk {
			for range marks {
				args = append(args, no)
			}
		}
		if _, err := r.s.pool.ExecContext(ctx, statement+strings.TrimSuffix(strings.Repeat(row+",", len(chunk)), ","), args...); err != nil {
			return err
		}
	}
	return nil
}

// reconcile has the reconciler find out once more that inventory agrees with the paid orders.
func (r *round) reconcile(ctx context.Context) error {
	due, err := r.s.hasColumn(ctx, "due_at")
	if err != nil {
		return err
	}
	set := "settled_at = NULL"
	if due {
		set += ", due_at = updated_at"
	}
	return r.measure(ctx, "reconcile", func() (int, error) {
		_, err := r.s.pool.ExecContext(ctx, "UPDATE orders SET "+set+" WHERE order_no >= ? AND status = 'PAID'", r.paid[len(r.paid)-1])
		if err != nil {
			return 0, err
		}
		return len(r.paid), r.settled(ctx)
	})
}

func (s *site) hasColumn(ctx context.Context, name string) (has bool, err error) {
	err = s.pool.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM information_schema.columns
		WHERE table_schema = 'orders' AND table_name = 'orders' AND column_name = ?)`, name).Scan(&has)
	return has, err
}

// sweep gives the sweeper orders whose placing has died, and waits until they are abandoned and settled.
func (r *round) sweep(ctx context.Context) error {
	begin := ulid.Make().String()
	numbers := make([]string, stale)
	for i := range numbers {
		numbers[i] = ulid.Make().String()
	}
	return r.measure(ctx, "sweep", func() (int, error) {
		err := r.insert(ctx, numbers, "INSERT INTO orders (order_no, group_id, user_id, idempotency_key, request_hash, status, flow, created_at, updated_at) VALUES ",
			"(?, ?, 'scale', ?, '', 'PENDING', 'tx-message', UTC_TIMESTAMP(6) - INTERVAL 1 HOUR, UTC_TIMESTAMP(6))", 3)
		if err != nil {
			return 0, err
		}
		return stale, r.s.none(ctx, "stale orders", `SELECT COUNT(*) FROM orders WHERE order_no > ? AND user_id = 'scale'
			AND (status = 'PENDING' OR settled_at IS NULL)`, begin)
	})
}

// expire waits until the orders that were not paid have expired and are settled.
func (r *round) expire(ctx context.Context) error {
	var unpaid int
	if err := r.s.pool.QueryRowContext(ctx, "SELECT COUNT(*) FROM orders WHERE order_no > ? AND status = 'PLACED'", r.from).Scan(&unpaid); err != nil {
		return err
	}
	if unpaid == 0 {
		return errors.New("expire: the orders have expired before, as paying took too long")
	}
	return r.measure(ctx, "expire", func() (int, error) {
		return unpaid, r.s.none(ctx, "orders that are to expire", `SELECT COUNT(*) FROM orders WHERE order_no > ?
			AND (status = 'PLACED' OR status = 'EXPIRED' AND settled_at IS NULL)`, r.from)
	})
}

// list reads the newest orders of a buyer.
func (r *round) list(ctx context.Context) error {
	return r.measure(ctx, "list", func() (int, error) {
		return lists, each(make([]struct{}, lists), func(struct{}) error { return r.s.call(ctx, "load-0", "GET", "/v1/orders?limit=20") })
	})
}

// rest measures the shop with nothing to do.
func (r *round) rest(ctx context.Context) error {
	return r.measure(ctx, "at rest", func() (int, error) { return int(atRest / time.Second), wait.Sleep(ctx, atRest) })
}

// audit measures an audit after another one. It fails if there are findings.
func (r *round) audit(ctx context.Context) error {
	if _, err := r.s.audit(ctx, false); err != nil {
		return err
	}
	return r.measure(ctx, "audit", func() (int, error) {
		report, err := r.s.audit(ctx, false)
		if err != nil {
			return 0, err
		}
		if found := append(report.Violations, report.Unsettled...); len(found) > 0 {
			return 0, fmt.Errorf("%d findings, the first: %s", len(found), found[0])
		}
		return 1, nil
	})
}
