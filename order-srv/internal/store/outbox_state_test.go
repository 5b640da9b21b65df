package store_test

import (
	"testing"
	"time"
)

func TestStore_OutboxState(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	want := func(unsent int, oldest time.Duration) {
		t.Helper()
		n, age, err := s.OutboxState(t.Context())
		if err != nil || n != unsent || age < oldest || age > oldest+30*time.Second {
			t.Errorf("%d unsent, the oldest for %v, error %v; want %d, %v", n, age, err, unsent, oldest)
		}
	}
	want(0, 0)
	first, second := place(t, s, time.Hour), place(t, s, time.Hour)
	must(t, db.Exec("UPDATE outbox SET created_at = created_at - INTERVAL 5 MINUTE WHERE shard_key = ?", first.OrderNo).Error)
	must(t, db.Exec("UPDATE outbox SET created_at = created_at - INTERVAL 1 MINUTE WHERE shard_key = ?", second.OrderNo).Error)
	want(2, 5*time.Minute)
	must(t, db.Exec("UPDATE outbox SET sent_at = UTC_TIMESTAMP(6) WHERE shard_key = ?", first.OrderNo).Error)
	want(1, time.Minute)
}
