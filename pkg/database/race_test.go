package database_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/pkg/database"
	"holdfast/pkg/fault"
)

func number(err error) uint16 {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return e.Number
	}
	return 0
}

// Each of the three errors repeats the whole transaction; what the failed runs did is gone.
func TestInTx_repeats(t *testing.T) {
	t.Parallel()
	for _, errno := range []int{1020, 1205, 1213} {
		t.Run(fmt.Sprint(errno), func(t *testing.T) {
			t.Parallel()
			db, _ := fresh(t)
			runs := 0
			err := database.InTx(t.Context(), db, func(tx *gorm.DB) error {
				runs++
				if err := insert(tx, fmt.Sprint("run", runs)); err != nil {
					return err
				}
				if runs == 3 {
					return nil
				}
				return tx.Exec(fmt.Sprintf("SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = %d", errno)).Error
			})
			if err != nil || runs != 3 {
				t.Errorf("InTx = %v after %d runs, want success after 3", err, runs)
			}
			wantIDs(t, db, "run3")
		})
	}
}

// fn hides the reason of its failure; the connection knows it.
func TestInTx_repeatsWhatFnHides(t *testing.T) {
	t.Parallel()
	for name, hide := range map[string]error{"by its own error": errors.New("no luck"), "by no error": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, _ := fresh(t)
			runs := 0
			err := database.InTx(t.Context(), db, func(tx *gorm.DB) error {
				if runs++; runs == 2 {
					return insert(tx, "b")
				}
				if err := insert(tx, "a"); err != nil {
					return err
				}
				_ = tx.Exec("SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213")
				return hide
			})
			if err != nil || runs != 2 {
				t.Errorf("InTx = %v after %d runs, want success after 2", err, runs)
			}
			wantIDs(t, db, "b")
		})
	}
}

func TestInTx_deadlock(t *testing.T) {
	t.Parallel()
	db, _ := fresh(t)
	exec(t, db, "INSERT INTO things (id, n) VALUES ('a', 0), ('b', 0)")
	var both, done sync.WaitGroup
	both.Add(2)
	runs := make([]int, 2)
	for i, order := range [][]string{{"a", "b"}, {"b", "a"}} {
		done.Go(func() {
			err := database.InTx(t.Context(), db, func(tx *gorm.DB) error {
				runs[i]++
				first := tx.Exec("UPDATE things SET n = n + 1 WHERE id = ?", order[0]).Error
				if runs[i] == 1 {
					both.Done()
					both.Wait()
				}
				return errors.Join(first, tx.Exec("UPDATE things SET n = n + 1 WHERE id = ?", order[1]).Error)
			})
			if err != nil {
				t.Errorf("InTx %d = %v", i, err)
			}
		})
	}
	done.Wait()
	if runs[0]+runs[1] < 3 {
		t.Errorf("runs = %v: there was no deadlock", runs)
	}
	var sum int
	if err := db.Raw("SELECT SUM(n) FROM things").Scan(&sum).Error; err != nil || sum != 4 {
		t.Errorf("sum = %d, %v, want 4: each transaction counts once", sum, err)
	}
}

// After 1205 the server keeps the transaction open with the half that was done: a COMMIT would keep it.
func TestInTx_lockWaitTimeout_keepsNoHalf(t *testing.T) {
	t.Parallel()
	db, dsn := fresh(t)
	exec(t, db, "INSERT INTO things (id, n) VALUES ('locked', 1)")
	lock(t, dsn, "locked")

	plain := pool(t, dsn)
	plain.SetMaxOpenConns(1)
	mustExec(t, plain, "SET SESSION innodb_lock_wait_timeout = 1")
	tx := begin(t, plain)
	mustExec(t, tx, "INSERT INTO things (id, n) VALUES ('half', 1)")
	if _, err := tx.ExecContext(t.Context(), "UPDATE things SET n = 0 WHERE id = 'locked'"); number(err) != 1205 {
		t.Fatalf("update = %v, want 1205", err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	wantIDs(t, db, "half", "locked") // what the server does by itself
	exec(t, db, "DELETE FROM things WHERE id = 'half'")

	impatient := dbtest.Open(t, dsn, database.Options{LockWait: time.Second})
	for name, statement := range map[string]string{
		"update":         "UPDATE things SET n = 0 WHERE id = 'locked'",
		"locking select": "SELECT n FROM things WHERE n >= 0 FOR UPDATE", // a scan: its error comes with the rows
	} {
		runs := 0
		err := database.InTx(t.Context(), impatient, func(tx *gorm.DB) error {
			if runs++; runs == 2 {
				return nil
			}
			if err := insert(tx, "half"); err != nil {
				return err
			}
			var n int
			_ = tx.Raw(statement).Scan(&n) // whose error is ignored
			return nil
		})
		if err != nil || runs != 2 {
			t.Errorf("%s: InTx = %v after %d runs, want the whole repeated", name, err, runs)
		}
		wantIDs(t, db, "locked")
	}
}

// After 1213 the server has ended the transaction: the next statement commits by itself and survives the ROLLBACK.
func TestInTx_deadlockVictim_sendsNoMore(t *testing.T) {
	t.Parallel()
	db, dsn := fresh(t)
	exec(t, db, "INSERT INTO things (id, n) VALUES ('a', 0), ('b', 0), ('c', 0), ('d', 0), ('e', 0)")
	plain := pool(t, dsn)
	// victim makes next lose a deadlock: it has locked a, the other one has changed more rows and waits for a.
	victim := func(next func()) {
		t.Helper()
		other := begin(t, plain)
		for _, id := range []string{"b", "c", "d", "e"} { // one by one: a scan would lock a as well
			mustExec(t, other, "UPDATE things SET n = n + 1 WHERE id = ?", id)
		}
		waits := make(chan error, 1)
		go func() {
			_, err := other.ExecContext(context.WithoutCancel(t.Context()), "UPDATE things SET n = n + 1 WHERE id = 'a'")
			waits <- err
		}()
		blocked(t, plain, "id = 'a'")
		next()
		if err := <-waits; err != nil {
			t.Errorf("the other transaction: %v", err)
		}
		if err := other.Rollback(); err != nil {
			t.Error(err)
		}
	}

	tx := begin(t, plain)
	mustExec(t, tx, "UPDATE things SET n = n + 1 WHERE id = 'a'")
	victim(func() {
		if _, err := tx.ExecContext(t.Context(), "UPDATE things SET n = n + 1 WHERE id = 'b'"); number(err) != 1213 {
			t.Errorf("update = %v, want 1213", err)
		}
	})
	mustExec(t, tx, "INSERT INTO things (id, n) VALUES ('stray', 1)")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	wantIDs(t, db, "a", "b", "c", "d", "e", "stray") // what the server does by itself
	exec(t, db, "DELETE FROM things WHERE id = 'stray'")

	runs := 0
	stop := errors.New("stop")
	err := database.InTx(t.Context(), db, func(tx *gorm.DB) error {
		if runs++; runs == 2 {
			return stop
		}
		if err := tx.Exec("UPDATE things SET n = n + 1 WHERE id = 'a'").Error; err != nil {
			return err
		}
		victim(func() {
			if err := tx.Exec("UPDATE things SET n = n + 1 WHERE id = 'b'").Error; number(err) != 1213 {
				t.Errorf("update = %v, want 1213", err)
			}
		})
		return insert(tx, "stray")
	})
	if !errors.Is(err, stop) || runs != 2 {
		t.Errorf("InTx = %v after %d runs, want the second run's error", err, runs)
	}
	wantIDs(t, db, "a", "b", "c", "d", "e")
}

func TestInTx_deadlineEndsTheTries(t *testing.T) {
	t.Parallel()
	db, _ := fresh(t)
	always := func(tx *gorm.DB) error { return tx.Exec("SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213").Error }
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	runs := 0
	err := database.InTx(ctx, db, func(tx *gorm.DB) error { runs++; return always(tx) })
	if !errors.Is(err, database.ErrContended) || fault.Ambiguous(err) || runs < 2 {
		t.Errorf("InTx = %v (ambiguous %v) after %d runs, want an unambiguous ErrContended after several", err, fault.Ambiguous(err), runs)
	}
	runs = 0
	err = database.InTx(context.WithoutCancel(t.Context()), db, func(tx *gorm.DB) error { runs++; return always(tx) })
	if !errors.Is(err, database.ErrContended) || runs != 10 {
		t.Errorf("without a deadline: InTx = %v after %d runs, want ErrContended after 10", err, runs)
	}
}

// A deadline in the middle of waiting for a lock is a timeout, and just as certainly nothing was done.
func TestInTx_deadlineWhileWaiting(t *testing.T) {
	t.Parallel()
	db, dsn := fresh(t)
	exec(t, db, "INSERT INTO things (id, n) VALUES ('locked', 1)")
	lock(t, dsn, "locked")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := database.InTx(ctx, db, func(tx *gorm.DB) error {
		return tx.Exec("UPDATE things SET n = 0 WHERE id = 'locked'").Error
	})
	if !errors.Is(err, fault.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) || fault.Ambiguous(err) {
		t.Errorf("InTx = %v (ambiguous %v), want an unambiguous timeout", err, fault.Ambiguous(err))
	}
}

// When an earlier attempt lost a race and the deadline ends a later one, InTx returns contended: the caller can retry.
func TestInTx_deadlineAfterRace(t *testing.T) {
	t.Parallel()
	db, dsn := fresh(t)
	exec(t, db, "INSERT INTO things (id, n) VALUES ('locked', 1)")
	lock(t, dsn, "locked")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	runs := 0
	err := database.InTx(ctx, db, func(tx *gorm.DB) error {
		if runs++; runs == 1 {
			return tx.Exec("SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213").Error
		}
		return tx.Exec("UPDATE things SET n = 0 WHERE id = 'locked'").Error
	})
	if !errors.Is(err, database.ErrContended) || fault.Ambiguous(err) || runs != 2 {
		t.Errorf("InTx = %v (ambiguous %v) after %d runs, want an unambiguous ErrContended after 2", err, fault.Ambiguous(err), runs)
	}
}

func TestInTx_lostConnectionRepeats(t *testing.T) {
	t.Parallel()
	db, dsn := fresh(t)
	admin := pool(t, dsn)
	runs := 0
	err := database.InTx(t.Context(), db, func(tx *gorm.DB) error {
		if err := insert(tx, "a"); err != nil {
			return err
		}
		if runs++; runs == 1 {
			var id int64
			if err := tx.Raw("SELECT CONNECTION_ID()").Scan(&id).Error; err != nil {
				return err
			}
			mustExec(t, admin, "KILL ?", id)
		}
		return insert(tx, "b")
	})
	if err != nil || runs != 2 {
		t.Errorf("InTx = %v after %d runs, want success after 2", err, runs)
	}
	wantIDs(t, db, "a", "b")
}

// A process that was stopped (SIGSTOP, a debugger, a paused machine) holds its locks only as long as the server waits
// for it to speak. When it goes on, its transaction is gone and runs again.
func TestInTx_stoppedSessionLosesItsLocks(t *testing.T) {
	t.Parallel()
	db, dsn := fresh(t)
	exec(t, db, "INSERT INTO things (id, n) VALUES ('a', 0)")
	stopped := dbtest.Open(t, dsn, database.Options{IdleTimeout: time.Second})
	holds, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	runs := 0
	go func() {
		done <- database.InTx(t.Context(), stopped, func(tx *gorm.DB) error {
			runs++
			err := tx.Exec("UPDATE things SET n = n + 1 WHERE id = 'a'").Error
			if runs == 1 {
				close(holds)
				<-goOn
			}
			return errors.Join(err, insert(tx, "b"))
		})
	}()
	<-holds
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := database.InTx(ctx, db, func(tx *gorm.DB) error {
		return tx.Exec("UPDATE things SET n = n + 10 WHERE id = 'a'").Error
	})
	if err != nil {
		t.Errorf("the lock of the stopped session never ended: %v", err)
	}
	close(goOn)
	if err := <-done; err != nil || runs != 2 {
		t.Errorf("the stopped transaction = %v after %d runs, want success after 2", err, runs)
	}
	var n int
	if err := db.Raw("SELECT n FROM things WHERE id = 'a'").Scan(&n).Error; err != nil || n != 11 {
		t.Errorf("n = %d, %v, want 11", n, err)
	}
}
