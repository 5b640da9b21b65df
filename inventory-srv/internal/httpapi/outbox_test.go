package httpapi_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/dev/dbtest"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/pkg/database"
	"holdfast/pkg/fault"
	"holdfast/sql"
)

// TestAPI_Outbox lists the messages that the relay parked, and has them sent again.
func TestAPI_Outbox(t *testing.T) {
	t.Parallel()
	dsn := dbtest.NewDSN(t, sql.Inventory())
	db := dbtest.Open(t, dsn, database.Options{})
	s := newServiceOn(t, db, "conditional", false, nil)
	if out, err := s.Outbox(t.Context(), 10); err != nil || out.Unsent != 0 || out.OldestMS != 0 || len(out.Parked) != 0 {
		t.Errorf("an empty outbox: %+v, error %v", out, err)
	}
	err := db.Exec(`INSERT INTO outbox (event_id, topic, shard, shard_key, payload, created_at, attempts, failure, retry_at, parked_at) VALUES
		('e1', 'stock-reserved', 1, 'A', '{"n":1}', NOW(6) - INTERVAL 1 HOUR, 10, 'too large', '9999-12-31', NOW(6)),
		('e2', 'stock-reserved', 1, 'B', '{"n":2}', NOW(6) - INTERVAL 1 HOUR, 10, 'too large', '9999-12-31', NOW(6)),
		('e3', 'stock-reserved', 1, 'A', '{"n":3}', NOW(6) - INTERVAL 1 MINUTE, 0, '', NULL, NULL)`).Error
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Outbox(t.Context(), 1)
	if err != nil || out.Unsent != 1 || out.OldestMS < 60_000 || out.OldestMS > 3_000_000 || len(out.Parked) != 1 {
		t.Fatalf("%+v, error %v", out, err)
	}
	p := out.Parked[0]
	if p.EventID != "e1" || p.Topic != "stock-reserved" || p.Key != "A" || p.Body == "" || p.Attempts != 10 || p.Failure != "too large" || p.ParkedAt.IsZero() {
		t.Errorf("parked %+v", p)
	}
	for _, want := range []int{1, 1, 0} {
		if n, err := s.ResendParked(t.Context(), 1); err != nil || n != want {
			t.Errorf("sent again %d, error %v; want %d", n, err, want)
		}
	}
	if out, err := s.Outbox(t.Context(), 10); err != nil || out.Unsent != 3 || len(out.Parked) != 0 {
		t.Errorf("after all were sent again: %+v, error %v", out, err)
	}
	for _, limit := range []int{0, -1, inventoryapi.MaxParked + 1} {
		if _, err := s.ResendParked(t.Context(), limit); fault.KindOf(err) != fault.Invalid {
			t.Errorf("limit %d: %v", limit, err)
		}
		if _, err := s.Outbox(t.Context(), limit); !errors.Is(err, fault.New(fault.Invalid, "invalid_parameter", "")) {
			t.Errorf("limit %d of the list: %v", limit, err)
		}
	}
}

// TestAPI_Answers returns what orders that came by message were answered.
func TestAPI_Answers(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t, sql.Inventory())
	s := newServiceOn(t, db, "conditional", false, nil)
	err := db.Exec("INSERT INTO reserve_answers (order_no, delivery, refused, answered_at) VALUES ('A', 'D', 0, NOW(6)), ('B', 'D', 1, NOW(6))").Error
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Answers(t.Context(), []string{"A", "B", "C"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]bool{"A": false, "B": true}, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	for _, bad := range [][]string{nil, {""}, make([]string, inventoryapi.MaxStates+1)} {
		if _, err := s.Answers(t.Context(), bad); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%d orders: %v", len(bad), err)
		}
	}
}
