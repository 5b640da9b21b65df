package stack_test

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
)

func startMySQL(tb testing.TB, o stack.Options) *stack.MySQL {
	tb.Helper()
	stacktest.SkipIfShort(tb, "MySQL")
	began := time.Now()
	m, err := stack.StartMySQL(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := m.Stop(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	tb.Logf("runs on %s %s", m.Name, m.Version)
	tb.Logf("started in %v", time.Since(began).Round(time.Millisecond))
	return m
}

func open(tb testing.TB, dsn string) *sql.DB {
	tb.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

func TestStartMySQL_temporary(t *testing.T) {
	t.Parallel()
	m := startMySQL(t, stack.Options{Tie: true})
	db := open(t, m.AdminDSN())
	var durable, connections int
	if err := db.QueryRowContext(t.Context(), "SELECT @@innodb_flush_log_at_trx_commit, @@max_connections").Scan(&durable, &connections); err != nil {
		t.Fatal(err)
	}
	if durable != 1 || connections != 2000 {
		t.Errorf("innodb_flush_log_at_trx_commit=%d max_connections=%d, want 1 and 2000", durable, connections)
	}
	if err := m.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(m.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary folder is still there: %v", err)
	}
	if alive(m.PID) {
		t.Error("the server still runs")
	}
}

// "holdfast up" relies on this: a detached server keeps its data when it is stopped and started again in the same
// folder.
// TestStart_temporaryFolder: the tests of this repository choose the folder by a variable.
func TestStart_temporaryFolder(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(stack.TempVar, dir)
	s, err := stack.StartRedis(t.Context(), stack.Options{Tie: true})
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Dir(s.Dir) != dir {
		t.Errorf("the data is in %s, want it in %s", s.Dir, dir)
	}
	if err := s.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

func TestStartMySQL_keepsItsData(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := startMySQL(t, stack.Options{Dir: dir})
	if _, err := open(t, m.AdminDSN()).ExecContext(t.Context(), "CREATE DATABASE kept"); err != nil {
		t.Fatal(err)
	}
	if !stack.Running(t.Context(), m.PID, dir) {
		t.Errorf("the folder is not in the command line of process %d", m.PID)
	}
	if err := stack.Terminate(t.Context(), m.PID, dir); err != nil {
		t.Fatal(err)
	}
	again := startMySQL(t, stack.Options{Dir: dir})
	if err := open(t, again.DSN("kept")).PingContext(t.Context()); err != nil {
		t.Errorf("the database did not survive the restart: %v", err)
	}
}

func TestStart_portInUse(t *testing.T) {
	t.Parallel()
	stacktest.SkipIfShort(t, "MySQL and Redis")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	_, mysqlErr := stack.StartMySQL(t.Context(), stack.Options{Tie: true, Port: port})
	_, redisErr := stack.StartRedis(t.Context(), stack.Options{Tie: true, Port: port})
	for _, err := range []error{mysqlErr, redisErr} {
		if err == nil || !strings.Contains(err.Error(), "port "+strconv.Itoa(port)+" is in use") {
			t.Errorf("error = %v, want one that names the port", err)
		}
	}
}

func TestOwnRedis_restartComesBackEmpty(t *testing.T) {
	t.Parallel()
	r := stacktest.OwnRedis(t)
	ask := func(command, want string) {
		t.Helper()
		conn, err := net.Dial("tcp", r.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		answer := make([]byte, 64)
		if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(answer)
		if got := string(answer[:n]); err != nil || got != want {
			t.Fatalf("%s = %q, %v, want %q", command, got, err, want)
		}
	}
	ask("SET k v", "+OK\r\n")
	ask("GET k", "$1\r\nv\r\n")
	before := r.PID
	if err := r.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.PID == before || alive(before) {
		t.Errorf("process %d was not replaced (now %d)", before, r.PID)
	}
	ask("GET k", "$-1\r\n")
}

func TestRedis_shared(t *testing.T) {
	t.Parallel()
	if a, b := stacktest.Redis(t), stacktest.Redis(t); a != b {
		t.Errorf("two servers, %s and %s, in one process", a, b)
	}
}

// TestClaimPorts: a stack's ports are nobody else's until they are released, although nothing listens on them, and no
// outgoing connection gets one of them.
func TestClaimPorts(t *testing.T) {
	t.Parallel()
	mine, release, err := stack.ClaimPorts()
	if err != nil {
		t.Fatal(err)
	}
	taken := stacktest.Ports(t)
	if mine == taken {
		t.Errorf("two stacks got the ports %+v", mine)
	}
	const outgoing, brokerOffset = 20000, 1035 + 1 // single servers' ports begin there, and outgoing ones are above
	for _, port := range []int{mine.Gateway, mine.Order, mine.Inventory, mine.Wallet, mine.MySQL, mine.Redis, mine.Namesrv + brokerOffset} {
		if port == 0 || port >= outgoing {
			t.Errorf("port %d of %+v is not a stack's", port, mine)
		}
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}

func TestFreePorts(t *testing.T) {
	t.Parallel()
	ports, err := stack.FreePorts(4)
	if err != nil {
		t.Fatal(err)
	}
	for i, port := range ports {
		if port != ports[0]+i {
			t.Fatalf("ports %v are not consecutive", ports)
		}
		if err := stack.PortFree(port); err != nil {
			t.Error(err)
		}
	}
	if _, err := stack.FreePorts(0); err == nil {
		t.Error("FreePorts(0) must be refused")
	}
}
