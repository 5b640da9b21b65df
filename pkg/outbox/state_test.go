package outbox_test

import (
	"testing"
	"time"
)

func TestTable_State(t *testing.T) {
	t.Parallel()
	table, db := newTable(t)
	want := func(unsent int, oldest time.Duration) {
		t.Helper()
		n, age, err := table.State(t.Context())
		if err != nil || n != unsent || age < oldest || age > oldest+30*time.Second {
			t.Errorf("%d unsent, the oldest for %v, error %v; want %d, %v", n, age, err, unsent, oldest)
		}
	}
	want(0, 0)
	first, second := begun(t, table, db), begun(t, table, db)
	must(t, db.Exec("UPDATE outbox SET created_at = created_at - INTERVAL 5 MINUTE WHERE shard_key = ?", first).Error)
	must(t, db.Exec("UPDATE outbox SET created_at = created_at - INTERVAL 1 MINUTE WHERE shard_key = ?", second).Error)
	want(2, 5*time.Minute)
	must(t, db.Exec("UPDATE outbox SET sent_at = UTC_TIMESTAMP(6) WHERE shard_key = ?", first).Error)
	want(1, time.Minute)
}
