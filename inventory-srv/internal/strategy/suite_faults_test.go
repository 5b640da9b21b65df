package strategy_test

import (
	"testing"

	"holdfast/internal/dev/dbtest"
)

// testKilledInTransaction has the connection end when everything but the lines is written: whatever was done is undone,
// and the whole is done again.
func testKilledInTransaction(t *testing.T, s shop) {
	s.has(t, "A", 10)
	s.has(t, "Z", 10)
	victim := s.instance(t, s.dsn)
	stopped := stallAt(t, victim, beforeLines)
	ctx := soon(t)
	reserving := goReserve(ctx, victim.set(t), order("ORDER", s.by, line("A", 4), line("Z", 1)))
	stopped.await(t, reserving)
	s.spoilt = true // the killer makes no difference between connections
	if s.killer(t).all(ctx) == 0 {
		t.Error("no connection was killed: this run has shown nothing")
	}
	close(stopped.resume)
	if err := <-reserving; err != nil {
		t.Errorf("reserve: %v", err)
	}
	if n := stopped.seen.Load(); n != 2 {
		t.Errorf("the lines were written %d times, want once for nothing and once for good", n)
	}
	s.wantLedger(t, "A", 6, 4, 0)
}

// testKilledInCommit has the connection break around COMMIT, once before the server has seen it and once before its
// answer has come back. The caller gets the truth both times, and every operation has happened once.
func testKilledInCommit(t *testing.T, s shop) {
	s.has(t, "A", 10)
	proxy := dbtest.NewProxy(t, s.dsn)
	set := s.instance(t, proxy.DSN).set(t)
	ctx := soon(t)
	for i, fault := range []dbtest.CommitFault{dbtest.LoseCommit, dbtest.LoseAnswer} {
		sold, back := []string{"SOLD-1", "SOLD-2"}[i], []string{"BACK-1", "BACK-2"}[i]
		for _, no := range []string{sold, back} {
			proxy.Fail(fault)
			if _, err := set.Reserve(ctx, order(no, s.by, line("A", 1))); err != nil {
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
	s.wantLedger(t, "A", 8, 0, 2)
}
