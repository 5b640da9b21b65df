package deadletter_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/dev/dbtest"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/deadletter"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/mq"
	"holdfast/sql"
)

// broker has dead letters by group.
type broker struct {
	letters map[string][]mq.DeadLetter
	down    bool
}

// DeadLetters implements deadletter.Broker.
func (b *broker) DeadLetters(_ context.Context, group string, limit int) ([]mq.DeadLetter, error) {
	if b.down {
		return nil, mq.ErrUnavailable
	}
	l := b.letters[group]
	return l[:min(limit, len(l))], nil
}

// ResendDeadLetters implements deadletter.Broker.
func (b *broker) ResendDeadLetters(_ context.Context, group string, limit int) (int, error) {
	n := min(limit, len(b.letters[group]))
	b.letters[group] = b.letters[group][n:]
	return n, nil
}

// inventory has parked messages in its outbox.
type inventory struct {
	parked []string // event ids
	down   bool
}

var errDown = errors.New("inventory is down")

// Outbox implements deadletter.Inventory.
func (i *inventory) Outbox(_ context.Context, limit int) (out inventoryapi.Outbox, err error) {
	if i.down {
		return out, errDown
	}
	for _, id := range i.parked[:min(limit, len(i.parked))] {
		out.Parked = append(out.Parked, inventoryapi.ParkedMessage{EventID: id, Topic: "stock-reserved", Key: "K", Failure: "too large", Attempts: 10})
	}
	return out, nil
}

// ResendParked implements deadletter.Inventory.
func (i *inventory) ResendParked(_ context.Context, limit int) (int, error) {
	if i.down {
		return 0, errDown
	}
	n := min(limit, len(i.parked))
	i.parked = i.parked[n:]
	return n, nil
}

func TestLetters(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t, sql.Orders())
	s := store.New(db, nil)
	err := db.Exec(`INSERT INTO outbox (event_id, topic, shard, shard_key, payload, created_at, attempts, failure, retry_at, parked_at) VALUES
		('e1', 'order-events', 1, 'A', '{"n":1}', NOW(6), 10, 'too large', '9999-12-31', NOW(6)),
		('e2', 'order-events', 1, 'B', '{"n":2}', NOW(6), 10, 'too large', '9999-12-31', NOW(6)),
		('e3', 'order-events', 1, 'A', '{"n":3}', NOW(6), 0, '', NULL, NULL)`).Error
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	letter := func(id, key string) mq.DeadLetter {
		return mq.DeadLetter{Message: mq.Message{ID: id, Topic: "stock-release", Key: key, Body: []byte("{}")}, DeadAt: at}
	}
	b := &broker{letters: map[string][]mq.DeadLetter{"g1": {letter("d1", "C")}, "g2": {letter("d2", "D"), letter("d3", "E")}}}
	theirs := &inventory{parked: []string{"i1", "i2"}}
	letters := deadletter.New(s, theirs, b, "g1", "g2")
	list := func(limit int, want ...string) []orderapi.DeadLetter {
		t.Helper()
		found, err := letters.List(t.Context(), limit)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range found {
			got = append(got, l.Source+" "+l.ID+" "+l.Key)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("listed (-want +got):\n%s", diff)
		}
		return found
	}
	resend := func(source string, limit, want int) {
		t.Helper()
		if n, err := letters.Resend(t.Context(), source, limit); err != nil || n != want {
			t.Errorf("sent %d of %q again, error %v; want %d", n, source, err, want)
		}
	}
	first := list(10, "outbox e1 A", "outbox e2 B", "inventory-outbox i1 K", "inventory-outbox i2 K", "g1 d1 C", "g2 d2 D", "g2 d3 E")[0]
	if first.Reason != "too large (10 attempts)" || first.Body == "" || first.At.IsZero() {
		t.Errorf("the first: %+v", first)
	}
	list(3, "outbox e1 A", "outbox e2 B", "inventory-outbox i1 K")
	resend("inventory-outbox", 1, 1)
	list(10, "outbox e1 A", "outbox e2 B", "inventory-outbox i2 K", "g1 d1 C", "g2 d2 D", "g2 d3 E")
	resend("g2", 1, 1)
	list(10, "outbox e1 A", "outbox e2 B", "inventory-outbox i2 K", "g1 d1 C", "g2 d3 E")
	resend("", 4, 4) // those of the outboxes and one of a group
	list(10, "g2 d3 E")
	if n, _, err := s.Outbox().State(t.Context()); err != nil || n != 3 {
		t.Errorf("%d messages may be sent, error %v; want 3", n, err)
	}
	if _, err := letters.Resend(t.Context(), "g3", 1); !errors.Is(err, deadletter.ErrUnknownSource) {
		t.Errorf("an unknown source: %v", err)
	}
	b.down = true
	if err := db.Exec("UPDATE outbox SET retry_at = '9999-12-31', parked_at = NOW(6) WHERE event_id = 'e3'").Error; err != nil {
		t.Fatal(err)
	}
	if found, err := letters.List(t.Context(), 10); !errors.Is(err, mq.ErrUnavailable) || len(found) != 1 {
		t.Errorf("the broker is down: %+v, error %v; want what is parked", found, err)
	}
	b.down, theirs.down = false, true
	if found, err := letters.List(t.Context(), 10); !errors.Is(err, errDown) || len(found) != 2 || found[1].Source != "g2" {
		t.Errorf("inventory is down: %+v, error %v; want the others", found, err)
	}
	if n, err := letters.Resend(t.Context(), "", 10); !errors.Is(err, errDown) || n != 2 {
		t.Errorf("inventory is down: %d sent again, error %v; want those of the others", n, err)
	}
}
