package e2e_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"net/http"
	"regexp"
	"time"

	"holdfast/internal/lab/history"
	"holdfast/order-srv/check"
	"holdfast/order-srv/orderapi"
)

var settlement = regexp.MustCompile(`^/v1/orders/(\w+)/(payment|cancellation)$`)

// callWith sends a request to one gateway with the given client and records the answer; see truthful.
func (sh *shop) callWith(ctx context.Context, client *http.Client, gateway *service, method, path, token, body string, headers ...string) (answer, error) {
	begin := time.Now()
	a, err := sh.send(ctx, client, gateway, method, path, token, body, headers...)
	c := history.Call{Start: begin, End: time.Now()}
	if user, ok := sh.users.Load(token); ok {
		c.User = user.(string)
	}
	switch m := settlement.FindStringSubmatch(path); {
	case method != http.MethodPost || c.User == "":
		return a, err
	case path == "/v1/orders":
		c.Kind, c.Key, c.Lines = history.Place, keyOf(headers), linesOf(body)
	case m != nil && m[2] == "payment":
		c.Kind, c.OrderNo = history.Pay, m[1]
	case m != nil:
		c.Kind, c.OrderNo = history.Cancel, m[1]
	default:
		return a, err
	}
	c.Answered(a.Status, a.Body, err)
	sh.history.Add(c)
	return a, err
}

func keyOf(headers []string) string {
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Idempotency-Key" {
			return headers[i+1]
		}
	}
	return ""
}

func linesOf(body string) map[string]int64 {
	var in struct {
		Items []orderapi.PlaceItem `json:"items"`
	}
	if json.Unmarshal([]byte(body), &in) != nil {
		return nil
	}
	lines := map[string]int64{}
	for _, it := range in.Items {
		lines[it.SKU] += it.Quantity
	}
	return lines
}

// truthful compares all recorded answers with both databases. The shop must be at rest; r is the report of its audit.
func (sh *shop) truthful(r check.Report) history.Findings {
	sh.tb.Helper()
	f := sh.noLies(r)
	for _, u := range f.Undecided {
		sh.tb.Errorf("the history is undecided, which proves nothing: %s", u)
	}
	return f
}

// noLies is truthful for a load with too many possible orders of events: invariant 4 may stay undecided. All other
// checks apply.
func (sh *shop) noLies(r check.Report) history.Findings {
	sh.tb.Helper()
	f := sh.history.Check(history.After{SKUs: r.SKUs, Orders: sh.allOrders(), Reservations: sh.allReservations()})
	for _, v := range f.Violations {
		sh.tb.Errorf("what clients were told is not true: %s", v)
	}
	if f.Calls == 0 {
		sh.tb.Error("no call was recorded, which proves nothing")
	}
	return f
}

func (sh *shop) allOrders() []check.Order {
	sh.tb.Helper()
	lines := sh.lines(sh.ordersDB, "order_items")
	var all []check.Order
	sh.each(sh.ordersDB, "SELECT order_no, status, user_id, COALESCE(idempotency_key, freed_key, '') FROM orders", func(s func(...any) error) error {
		var o check.Order
		err := s(&o.OrderNo, &o.Status, &o.User, &o.Key)
		o.Lines = lines[o.OrderNo]
		all = append(all, o)
		return err
	})
	return all
}

func (sh *shop) allReservations() []check.Reservation {
	sh.tb.Helper()
	lines := sh.lines(sh.stockDB, "all_reservation_lines")
	var all []check.Reservation
	sh.each(sh.stockDB, "SELECT order_no, status FROM reservations", func(s func(...any) error) error {
		var r check.Reservation
		err := s(&r.OrderNo, &r.Status)
		r.Lines = lines[r.OrderNo]
		all = append(all, r)
		return err
	})
	return all
}

func (sh *shop) lines(db *sql.DB, table string) map[string]map[string]int64 {
	sh.tb.Helper()
	lines := map[string]map[string]int64{}
	sh.each(db, "SELECT order_no, sku, quantity FROM "+table, func(s func(...any) error) error {
		var no, sku string
		var n int64
		err := s(&no, &sku, &n)
		if lines[no] == nil {
			lines[no] = map[string]int64{}
		}
		lines[no][sku] = n
		return err
	})
	return lines
}

// each calls row for each row of the statement.
func (sh *shop) each(db *sql.DB, statement string, row func(scan func(...any) error) error) {
	sh.tb.Helper()
	rows, err := db.Query(statement)
	if err != nil {
		sh.tb.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			sh.tb.Fatal(err)
		}
	}
	if err := rows.Err(); err != nil {
		sh.tb.Fatal(err)
	}
}
