package strategytest

import (
	"testing"

	"holdfast/internal/dev/dbtest"
	"holdfast/inventory-srv/internal/replicatest"
)

// testKilledInTransaction has the connection end when everything but the lines is written: whatever was done is undone,
// and the whole is done again.
func testKilledInTransaction(t *testing.T, s shop) {
	s.Has(t, "A", 10)
	s.Has(t, "Z", 10)
	victim := s.Instance(t, s.DSN)
	stopped := replicatest.StallAt(t, victim, replicatest.BeforeLines)
	ctx := replicatest.Soon(t)
	reserving := replicatest.GoReserve(ctx, victim.Set(t), replicatest.Order("ORDER", s.by, replicatest.Line("A", 4), replicatest.Line("Z", 1)))
	stopped.Await(t, reserving)
	s.Spoilt = true // the killer makes no difference between connections
	if s.Killer(t).All(ctx) == 0 {
		t.Error("no connection was killed: this run has shown nothing")
	}
	close(stopped.Resume)
	if err := <-reserving; err != nil {
		t.Errorf("reserve: %v", err)
	}
	if n := stopped.Seen.Load(); n != 2 {
		t.Errorf("the lines were written %d times, want once for nothing and once for good", n)
	}
	s.WantLedger(t, "A", 6, 4, 0)
}

// testKilledInCommit has the connection break around COMMIT, once before the server has seen it and once before its
// answer has come back. The caller gets the truth both times, and every operation has happened once.
func testKilledInCommit(t *testing.T, s shop) {
	s.Has(t, "A", 10)
	proxy := dbtest.NewProxy(t, s.DSN)
	set := s.Instance(t, proxy.DSN).Set(t)
	ctx := replicatest.Soon(t)
	for i, fault := range []dbtest.CommitFault{dbtest.LoseCommit, dbtest.LoseAnswer} {
		sold, back := []string{"SOLD-1", "SOLD-2"}[i], []string{"BACK-1", "BACK-2"}[i]
		for _, no := range []string{sold, back} {
			proxy.Fail(fault)
			if _, err := set.Reserve(ctx, replicatest.Order(no, s.by, replicatest.Line("A", 1))); err != nil {
				t.Errorf("reserve %s: %v", no, err)
			}
		}
		proxy.Fail(fault)
		if err := set.Confirm(ctx, sold); err != nil {
			t.Errorf("confirm %s: %v", sold, err)
		}
		proxy.Fail(fault)
		if err := set.Release(ctx, back); err != nil {
			t.Errorf("release %s: %v", back, err)
		}
	}
	s.WantLedger(t, "A", 8, 0, 2)
}
