package e2e_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/crash"
)

const (
	groupBuyers = 24 // who order at once
	groupLeast  = 4  // orders of the group that dies
)

// groupDies kills order-srv at a point to which many orders of a group have come. Each of these must end with the
// status. What a busy inventory has not decided with them is PENDING then, and must be abandoned. The orders of smaller
// groups before it are PLACED, or REJECTED.
func groupDies(p crash.Point, status string) func(*testing.T, crashBroker) string {
	return func(t *testing.T, b crashBroker) string {
		settings := onlyCheckBack()
		if p == crash.OrderPending {
			settings = onlySweeper()
		}
		settings[crash.EnvGroup] = strconv.Itoa(groupLeast)
		cs := newCrashShop(t, b, setup{}, settings, p)
		quantity := 1
		if p == crash.OrderRejected {
			quantity = units + 1
		}
		testkit.Eventually(cs.tb, patience, "a group comes to "+string(p), func() error {
			cs.rush(quantity)
			if !crash.Reached(cs.marks, p) {
				return fmt.Errorf("%d orders at once made no group of %d", groupBuyers, groupLeast)
			}
			return nil
		})
		cs.died(cs.order, p)
		group, undecided := cs.lastGroup(status)
		pending := cs.count(orderapi.StatusPending)
		alone := pending == 0 // nothing else was in flight that is to be healed
		others := pending - len(undecided)
		if status == orderapi.StatusAbandoned {
			others -= len(group)
		}
		var healers map[string]string
		if others > 0 { // the group behind it was being inserted: without a half message only the sweeper finds it
			healers = map[string]string{"SWEEP_AFTER": "30s"}
		}
		cs.back(cs.order, healers)
		for _, no := range group {
			cs.becomes(no, status)
			if status == orderapi.StatusPlaced {
				cs.holds(no, "reserved")
			} else {
				cs.holdsNothing(no)
			}
		}
		for _, no := range undecided {
			cs.becomes(no, orderapi.StatusAbandoned)
			cs.holdsNothing(no)
		}
		placed := cs.count(orderapi.StatusPlaced)
		if status != orderapi.StatusAbandoned && alone {
			cs.noted(group[0], "check-back", "rolled back the message of")
			cs.healedBy("", 0)
		}
		cs.stock(int64(units-placed), int64(placed), 0)
		return fmt.Sprintf("%d orders %s", len(group), status)
	}
}

// rush has buyers order at once and ignores what becomes of it.
func (cs *crashShop) rush(quantity int) {
	var buying sync.WaitGroup
	for range groupBuyers {
		cs.keys++
		key := fmt.Sprintf("key-%d", cs.keys)
		buying.Go(func() {
			if _, err := cs.many(key, quantity); err != nil {
				cs.tb.Errorf("the gateway does not answer: %v", err)
			}
		})
	}
	buying.Wait()
}

// lastGroup returns the orders of the last group of many that have the status, or are PENDING if the status is
// ABANDONED, and the others of it that are PENDING.
func (cs *crashShop) lastGroup(status string) (group, undecided []string) {
	cs.tb.Helper()
	if status == orderapi.StatusAbandoned {
		status = orderapi.StatusPending
	}
	ids, err := cs.column("SELECT group_id FROM orders WHERE status = ? GROUP BY group_id HAVING COUNT(*) >= ? ORDER BY MAX(created_at) DESC LIMIT 1",
		status, groupLeast)
	if err != nil || len(ids) == 0 {
		cs.tb.Fatalf("no group has %d orders %s, error %v", groupLeast, status, err)
	}
	const members = "SELECT order_no FROM orders WHERE group_id = ? AND status = ?"
	if group, err = cs.column(members, ids[0], status); err != nil {
		cs.tb.Fatal(err)
	}
	if status != orderapi.StatusPending {
		if undecided, err = cs.column(members, ids[0], orderapi.StatusPending); err != nil {
			cs.tb.Fatal(err)
		}
	}
	return group, undecided
}

func (cs *crashShop) column(query string, args ...any) (values []string, err error) {
	rows, err := cs.ordersDB.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, rows.Err()
}

// count returns how many orders have the status.
func (cs *crashShop) count(status string) (n int) {
	cs.tb.Helper()
	if err := cs.ordersDB.QueryRow("SELECT COUNT(*) FROM orders WHERE status = ?", status).Scan(&n); err != nil {
		cs.tb.Fatal(err)
	}
	return n
}
