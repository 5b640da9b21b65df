package database_test

import (
	"database/sql"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/dbtest"
	"holdfast/pkg/database"
	"holdfast/pkg/fault"
)

// session reads what a connection is set to. MariaDB 10 calls the variable tx_isolation.
func session(tb testing.TB, c *sql.Conn) (id int64, level string, lockWait, idle int) {
	tb.Helper()
	err := c.QueryRowContext(tb.Context(), "SELECT @@SESSION.transaction_isolation").Scan(&level)
	if err != nil {
		err = c.QueryRowContext(tb.Context(), "SELECT @@SESSION.tx_isolation").Scan(&level)
	}
	if err != nil {
		tb.Fatal(err)
	}
	row := c.QueryRowContext(tb.Context(), "SELECT CONNECTION_ID(), @@SESSION.innodb_lock_wait_timeout, @@SESSION.wait_timeout")
	if err := row.Scan(&id, &lockWait, &idle); err != nil {
		tb.Fatal(err)
	}
	return id, level, lockWait, idle
}

func TestOpen_everyConnectionIsPrepared(t *testing.T) {
	t.Parallel()
	dsn := dbtest.NewDSN(t, nil)
	db, err := dbtest.Open(t, dsn, database.Options{}).DB()
	if err != nil {
		t.Fatal(err)
	}
	admin := pool(t, dsn)
	seen := map[int64]bool{}
	check := func(c *sql.Conn) int64 {
		t.Helper()
		id, level, lockWait, idle := session(t, c)
		if level != "READ-COMMITTED" || lockWait != 2 || idle != 10 {
			t.Errorf("connection %d: isolation %s, lock wait %d s, idle %d s; want READ-COMMITTED, 2 s, 10 s", id, level, lockWait, idle)
		}
		seen[id] = true
		return id
	}
	for range 2 { // the second round runs on connections that replaced the killed ones
		var conns []*sql.Conn
		for range 5 {
			c, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
			mustExec(t, admin, "KILL ?", check(c))
		}
		for _, c := range conns {
			within(t, "the killed connection is noticed", func() bool { return c.PingContext(t.Context()) != nil })
			_ = c.Close()
		}
	}
	if len(seen) != 10 {
		t.Errorf("looked at %d connections, want 10", len(seen))
	}
}

// A server, or a proxy before it, that does not do what SET asked for must be noticed at the start.
func TestOpen_assertsIsolation(t *testing.T) {
	t.Parallel()
	p := dbtest.NewProxy(t, dbtest.NewDSN(t, nil))
	p.Rewrite("LEVEL READ COMMITTED", "LEVEL SERIALIZABLE  ")
	_, err := database.Open(t.Context(), p.DSN, database.Options{})
	if err == nil || !strings.Contains(err.Error(), "isolation level is SERIALIZABLE") {
		t.Errorf("Open = %v, want it to refuse the isolation level", err)
	}
}

func TestOpen_overrulesDSN(t *testing.T) {
	t.Parallel()
	address, _, _ := strings.Cut(dbtest.NewDSN(t, schema()), "?")
	dsn := address + "?clientFoundRows=true&parseTime=false&loc=Asia%2FTokyo&multiStatements=true"
	db := dbtest.Open(t, dsn, database.Options{})
	exec(t, db, "INSERT INTO things (id, n) VALUES ('a', 1)")
	same := db.Exec("UPDATE things SET n = 1 WHERE id = 'a'")
	if same.Error != nil || same.RowsAffected != 0 {
		t.Errorf("an update that changes nothing: rows = %d, %v, want 0: clientFoundRows must be off", same.RowsAffected, same.Error)
	}
	want := time.Date(2026, 11, 11, 20, 0, 0, 123456000, time.UTC)
	var got time.Time
	if err := db.Raw("SELECT CAST(? AS DATETIME(6))", want).Row().Scan(&got); err != nil || !got.Equal(want) || got.Location() != time.UTC {
		t.Errorf("a time came back as %v, %v, want %v", got, err, want)
	}
	if err := db.Exec("SELECT 1; SELECT 2").Error; err == nil {
		t.Error("several statements in one must be refused")
	}
}

func TestOpen_faults(t *testing.T) {
	t.Parallel()
	if _, err := database.Open(t.Context(), "no-dsn", database.Options{}); err == nil || !strings.Contains(err.Error(), "database address") {
		t.Errorf("malformed DSN: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	_, err = database.Open(t.Context(), "shop:hunter2@tcp("+closed+")/stock", database.Options{})
	if !errors.Is(err, database.ErrUnavailable) || fault.Ambiguous(err) || !strings.Contains(err.Error(), "shop@tcp("+closed+")/stock") {
		t.Errorf("unreachable: %v (ambiguous %v), want an unambiguous fault that names the server", err, fault.Ambiguous(err))
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error shows the password: %v", err)
	}
	_, err = database.Open(t.Context(), strings.Replace(dbtest.NewDSN(t, nil), "root@", "nobody:hunter2@", 1), database.Options{})
	if !errors.Is(err, database.ErrUnavailable) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("wrong user: %v, want ErrUnavailable without the password", err)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	p := dbtest.NewProxy(t, dbtest.NewDSN(t, nil))
	probe := database.Probe(dbtest.Open(t, p.DSN, database.Options{}))
	if err := probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Cut()
	if err := probe(t.Context()); !errors.Is(err, database.ErrUnavailable) {
		t.Errorf("probe of an unreachable server = %v, want ErrUnavailable", err)
	}
}
