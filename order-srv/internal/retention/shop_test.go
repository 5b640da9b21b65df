package retention_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
	"holdfast/order-srv/check"
	"holdfast/order-srv/internal/audit"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/retention"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/database"
	"holdfast/pkg/rest"
	"holdfast/sql"
)

const (
	age = 90 * 24 * time.Hour
	day = 24 * time.Hour
)

// shop is both services' databases, inventory's real API, and the audits of one replica of order-srv.
type shop struct {
	t         *testing.T
	orders    *gorm.DB
	stock     *gorm.DB
	store     *store.Store
	inventory *inventoryapi.Client
	jobs      *audit.Jobs
}

type noLetters struct{}

func (noLetters) List(context.Context, int) ([]orderapi.DeadLetter, error) { return nil, nil }

func newShop(t *testing.T) *shop {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	s := &shop{t: t, orders: dbtest.New(t, sql.Orders())}
	s.store = store.New(s.orders, nil)
	dsn := dbtest.NewDSN(t, sql.Inventory())
	s.stock = dbtest.Open(t, dsn, database.Options{})
	lab, err := inventorylab.Open(t.Context(), inventorylab.Config{DSN: dsn, Strategy: "conditional", Log: quiet, ReserveHorizon: 96 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(lab.Handler(quiet))
	client, err := rest.New(rest.Config{URLs: []string{server.URL}, Name: "inventory", Log: quiet, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		server.Close()
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	s.inventory = inventoryapi.NewClient(client)
	s.jobs = audit.NewJobs(audit.Config{
		Store: s.store, Inventory: s.inventory, Letters: noLetters{},
		HalfMessages: audit.HalfMessages{Undecided: func() (int, time.Duration) { return 0, 0 }},
	}, quiet)
	s.exec(s.stock, "INSERT INTO products (sku, title, price_cents, created_at) VALUES ('A', 'A', 100, UTC_TIMESTAMP(6)), ('B', 'B', 200, UTC_TIMESTAMP(6))")
	s.exec(s.stock, "INSERT INTO stock (sku, updated_at) VALUES ('A', UTC_TIMESTAMP(6)), ('B', UTC_TIMESTAMP(6))")
	return s
}

// runAudits runs audits until the test ends.
func (s *shop) runAudits() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.jobs.Run(ctx) })
	s.t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

func (s *shop) exec(db *gorm.DB, query string, args ...any) {
	s.t.Helper()
	if err := db.Exec(query, args...).Error; err != nil {
		s.t.Fatal(err)
	}
}

// count returns the number of a query.
func (s *shop) count(db *gorm.DB, query string, args ...any) (n int) {
	s.t.Helper()
	if err := db.Raw(query, args...).Row().Scan(&n); err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
	return n
}

// values joins rows for an INSERT.
type values []string

func (v *values) add(format string, args ...any) { *v = append(*v, fmt.Sprintf(format, args...)) }

// history writes n settled orders that are that old, with all that they leave in both databases. Of 20 orders 12 are
// PAID, one is REFUND_DUE, and the others ended in each other way.
func (s *shop) history(n int, old time.Duration) (numbers []string) {
	s.t.Helper()
	at := time.Now().Add(-old)
	var orders, items, messages, healings, notifications, reservations, lines, answers values
	units := 0
	for i := range n {
		made := at.Add(time.Duration(i) * time.Second)
		no := ulid.MustNew(ulid.Timestamp(made), ulid.DefaultEntropy()).String()
		numbers = append(numbers, no)
		when := made.UTC().Format("2006-01-02 15:04:05.000000")
		status, reservation := endOf(i)
		orders.add("('%s','%s','user-%d','key-%s',NULL,'%s','outbox','%s','%s','%s','%s')", no, no, i%7, no, status, when, when, when, when)
		messages.add("('%s:x','test',1,'%s','{}','%s','%s')", no, no, when, when)
		healings.add("('%s','sweeper','test','%s')", no, when)
		if status == order.Paid {
			notifications.add("('%s','order.paid','user-%d',100,'%s','given_up','%s')", no, i%7, when, when)
		}
		answers.add("('%s','%s',%t,'%s')", no, no, status == order.Rejected, when)
		items.add("('%s','A','A',1,100)", no)
		two := i%10 == 0
		if two {
			items.add("('%s','B','B',2,200)", no)
		}
		switch {
		case reservation == "":
			continue
		case reservation == "void":
			reservations.add("('%s','void','','','%s','%s',NULL,NULL,NULL)", no, when, when)
			continue
		case two:
			reservations.add("('%s','%s','h','conditional','%s','%s',NULL,NULL,NULL)", no, reservation, when, when)
			lines.add("('%s','A',1,100)", no)
			lines.add("('%s','B',2,200)", no)
		default:
			reservations.add("('%s','%s','','conditional','%s','%s','A',1,100)", no, reservation, when, when)
		}
		if reservation == "confirmed" {
			units++
			if two {
				s.exec(s.stock, "UPDATE stock SET sold = sold + 2 WHERE sku = 'B'")
				s.exec(s.stock, "INSERT INTO stock_inbound (sku, quantity, reference, reason, actor, created_at) VALUES ('B', 2, ?, '', '', UTC_TIMESTAMP(6))", no)
			}
		}
	}
	insert := func(db *gorm.DB, into string, rows values) {
		if len(rows) > 0 {
			s.exec(db, "INSERT INTO "+into+" VALUES "+strings.Join(rows, ","))
		}
	}
	insert(s.orders, "orders (order_no, group_id, user_id, idempotency_key, request_hash, status, flow, created_at, updated_at, expires_at, settled_at)", orders)
	insert(s.orders, "order_items (order_no, sku, title, quantity, unit_price_cents)", items)
	insert(s.orders, "healings (order_no, healer, deed, healed_at)", healings)
	insert(s.orders, "notifications (order_no, event, user_id, amount_cents, occurred_at, state, updated_at)", notifications)
	for _, db := range []*gorm.DB{s.orders, s.stock} {
		insert(db, "outbox (event_id, topic, shard, shard_key, payload, created_at, sent_at)", messages)
	}
	insert(s.stock, "reservations (order_no, status, request_hash, strategy, created_at, updated_at, sku, quantity, unit_price_cents)", reservations)
	insert(s.stock, "reservation_lines (order_no, sku, quantity, unit_price_cents)", lines)
	insert(s.stock, "reserve_answers (order_no, delivery, refused, answered_at)", answers)
	s.exec(s.stock, "INSERT INTO stock_inbound (sku, quantity, reference, reason, actor, created_at) VALUES ('A', ?, ?, '', '', UTC_TIMESTAMP(6))", units+5, "A-"+numbers[0])
	s.exec(s.stock, "UPDATE stock SET sold = sold + ?, available = available + 5 WHERE sku = 'A'", units)
	return numbers
}

// endOf is how the i-th order of a history has ended, and its reservation.
func endOf(i int) (status order.Status, reservation string) {
	switch i % 20 {
	case 1:
		return order.RefundDue, "released"
	case 2, 3, 4:
		return order.Expired, "released"
	case 5:
		return order.Cancelled, "released"
	case 6, 7:
		return order.Rejected, ""
	case 8:
		return order.Abandoned, "void"
	}
	return order.Paid, "confirmed"
}

// mustAudit audits and fails the test if there is a finding.
func (s *shop) mustAudit(full bool) check.Report {
	s.t.Helper()
	job, err := s.jobs.Request(s.t.Context(), full)
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := s.jobs.Wait(s.t.Context(), job.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	if found := append(r.Violations, r.Unsettled...); len(found) != 0 {
		s.t.Errorf("audit, full %v: %d findings, the first: %v", full, len(found), found[0])
	}
	return r
}

// worker is the retention of one replica.
func (s *shop) worker(inventory retention.Inventory) *retention.Worker {
	if inventory == nil {
		inventory = s.inventory
	}
	return retention.New(retention.Config{Store: s.store, Inventory: inventory, Audits: s.jobs, Age: age, Log: slog.New(slog.DiscardHandler)})
}

// run repeats the passes of a worker until there is nothing left for it.
func (s *shop) run(w *retention.Worker) {
	s.t.Helper()
	for more := true; more; {
		var err error
		if more, err = w.Pass(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
	}
}

// gone checks that nothing is left of orders up to a number but what is archived, and returns how many are.
func (s *shop) gone(to string) (archived int) {
	s.t.Helper()
	for _, of := range []struct {
		db     *gorm.DB
		tables []string
	}{
		{s.orders, []string{"orders", "order_items", "healings", "notifications"}},
		{s.stock, []string{"reservations", "reservation_lines", "reserve_answers"}},
	} {
		for _, table := range of.tables {
			// What is as old as the cut-off itself may be kept until the next pass.
			if n := s.count(of.db, "SELECT COUNT(*) FROM "+table+" WHERE order_no < ?", to); n != 0 {
				s.t.Errorf("%d rows are left in %s", n, table)
			}
		}
		if n := s.count(of.db, "SELECT COUNT(*) FROM outbox WHERE shard_key < ?", to); n != 0 {
			s.t.Errorf("%d messages are left", n)
		}
	}
	return s.count(s.orders, "SELECT COUNT(*) FROM orders_archive WHERE order_no <= ?", to)
}
