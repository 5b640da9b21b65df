package database_test

import (
	"errors"
	"testing"

	"gorm.io/gorm"

	"holdfast/pkg/database"
	"holdfast/pkg/fault"
)

// A caller that has asked for it gets the first lock wait that runs out, while a deadlock is repeated as ever.
func TestInTx_returnLockWait(t *testing.T) {
	t.Parallel()
	db, dsn := fresh(t)
	exec(t, db, "INSERT INTO things (id, n) VALUES ('a', 1)")
	defer lock(t, dsn, "a")()
	runs := 0
	err := database.InTx(t.Context(), db, func(tx *gorm.DB) error {
		runs++
		return tx.Exec("UPDATE things SET n = 2 WHERE id = 'a'").Error
	}, database.ReturnLockWait())
	if !errors.Is(err, database.ErrContended) || !database.IsLockWait(err) || fault.Ambiguous(err) || runs != 1 {
		t.Errorf("InTx = %v after %d runs, want a lock wait timeout as ErrContended after 1", err, runs)
	}
}

// What another session has written and not committed is read by this option only.
func TestInTx_readUncommitted(t *testing.T) {
	t.Parallel()
	db, dsn := fresh(t)
	other := begin(t, pool(t, dsn))
	mustExec(t, other, "INSERT INTO things (id, n) VALUES ('a', 1)")
	for name, c := range map[string]struct {
		opts []database.TxOption
		want int
	}{
		"read committed":   {nil, 0},
		"read uncommitted": {[]database.TxOption{database.ReadUncommitted()}, 1},
	} {
		var n int
		err := database.InTx(t.Context(), db, func(tx *gorm.DB) error {
			return tx.Raw("SELECT COUNT(*) FROM things").Row().Scan(&n)
		}, c.opts...)
		if err != nil || n != c.want {
			t.Errorf("%s: %d rows, %v; want %d", name, n, err, c.want)
		}
	}
}

// IsData separates faults in a row's data from faults of the server or the schema.
func TestIsData(t *testing.T) {
	t.Parallel()
	db, _ := fresh(t)
	exec(t, db, "INSERT INTO things (id, n) VALUES ('a', 1)")
	for statement, want := range map[string]bool{
		"UPDATE things SET n = -1":                          true, // CHECK
		"INSERT INTO things (id, n) VALUES ('a', 1)":        true, // duplicate key
		"INSERT INTO things (id, n) VALUES (NULL, 1)":       true,
		"INSERT INTO things (id, n) VALUES ('b', 1e12)":     true, // out of range
		"INSERT INTO things (id, n) VALUES ('b', 'x')":      true, // not a number
		"INSERT INTO things (id, n) VALUES ('ü', 1)":        true, // not in the column's character set
		"INSERT INTO things SELECT REPEAT('x', 33), 1":      true, // too long
		"INSERT INTO nothing (id, n) VALUES ('b', 1)":       false,
		"INSERT INTO things (id, nothing) VALUES ('b', 1)":  false,
		"INSERT INTO things (id, n VALUES ('b', 1)":         false,
		"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'":   false,
		"SELECT n FROM things WHERE nothing(id) FOR UPDATE": false,
	} {
		err := db.WithContext(t.Context()).Exec(statement).Error
		if err == nil || database.IsData(err) != want {
			t.Errorf("%s: IsData(%v) = %v, want %v", statement, err, !want, want)
		}
	}
}
