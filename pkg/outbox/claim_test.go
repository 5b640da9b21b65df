package outbox_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"gorm.io/gorm"

	"holdfast/pkg/outbox"
)

func TestTable_Claim(t *testing.T) {
	t.Parallel()
	table, db := newTable(t)
	if _, ok, err := table.Claim(t.Context(), "a", time.Minute); err != nil || ok {
		t.Fatalf("a claim without work: %v, error %v", ok, err)
	}
	begun(t, table, db)
	shard, ok, err := table.Claim(t.Context(), "a", time.Minute)
	if err != nil || !ok {
		t.Fatalf("the first claim: %v, error %v", ok, err)
	}
	if _, ok, err := table.Claim(t.Context(), "b", time.Minute); err != nil || ok {
		t.Errorf("a leased shard was claimed: %v, error %v", ok, err)
	}
	must(t, table.Renew(t.Context(), "a", shard, time.Minute))
	if err := table.Renew(t.Context(), "b", shard, time.Minute); !errors.Is(err, outbox.ErrLeaseLost) {
		t.Errorf("renew another owner's lease: error %v, want ErrLeaseLost", err)
	}
	must(t, db.Exec("UPDATE outbox_shards SET lease_until = UTC_TIMESTAMP(6) WHERE shard = ?", shard).Error)
	if err := table.Renew(t.Context(), "a", shard, time.Minute); !errors.Is(err, outbox.ErrLeaseLost) {
		t.Errorf("renew a lease that ran out: error %v, want ErrLeaseLost", err)
	}
	if got, ok, err := table.Claim(t.Context(), "b", time.Minute); err != nil || !ok || got != shard {
		t.Errorf("a lease that ran out: shard %d, %v, error %v", got, ok, err)
	}
	must(t, table.GiveUp(t.Context(), "a", shard, 0)) // it is b's by now
	if _, ok, err := table.Claim(t.Context(), "c", time.Minute); err != nil || ok {
		t.Errorf("an owner that had lost the lease gave it up: %v, error %v", ok, err)
	}
}

// TestTable_Claim_takenOver: a lease that ran out is a relay that died; one that was given up is not.
func TestTable_Claim_takenOver(t *testing.T) {
	t.Parallel()
	plain, db := newTable(t)
	var announced []string
	table := outbox.New(db, func(_ *gorm.DB, subjects []string) error {
		announced = append(announced, subjects...)
		return nil
	})
	subject := begun(t, plain, db)
	ended(t, plain, db, subject)
	claim := func(owner string) int {
		t.Helper()
		shard, ok, err := table.Claim(t.Context(), owner, time.Minute)
		if err != nil || !ok {
			t.Fatalf("%s gets no shard: error %v", owner, err)
		}
		return shard
	}
	must(t, table.GiveUp(t.Context(), "leaves", claim("leaves"), 0))
	claim("dies")
	if announced != nil {
		t.Errorf("no relay died, and %v was announced", announced)
	}
	must(t, db.Exec("UPDATE outbox_shards SET lease_until = UTC_TIMESTAMP(6) WHERE owner = 'dies'").Error)
	claim("takes over")
	if !slices.Equal(announced, []string{subject}) {
		t.Errorf("announced %v, want %s", announced, subject)
	}
}
