package stacktest

import (
	"context"
	"database/sql"
	"os"
	"strings"
	"testing"

	"holdfast/internal/dev/stack"
)

// mysqlServer is a running database server.
type mysqlServer struct{ dsn, name, version string }

// MySQL returns the DSN of the root user, without a database, of a MySQL or MariaDB that the tests of this process
// share. Each test creates databases of its own; see dbtest. With -short the test is skipped.
func MySQL(tb testing.TB) string {
	tb.Helper()
	SkipIfShort(tb, "MySQL")
	s, err := shared.mysql()
	if err != nil {
		tb.Fatalf("test database server: %v", err)
	}
	tb.Logf("runs on %s %s", s.name, s.version)
	return s.dsn
}

func startMySQL(ctx context.Context) (mysqlServer, error) {
	if dsn := os.Getenv("HOLDFAST_MYSQL"); dsn != "" {
		return describe(ctx, dsn)
	}
	m, err := stack.StartMySQL(ctx, stack.Options{Tie: true})
	if err != nil {
		return mysqlServer{}, err
	}
	return mysqlServer{dsn: m.AdminDSN(), name: m.Name, version: m.Version}, nil
}

func describe(ctx context.Context, dsn string) (mysqlServer, error) {
	s := mysqlServer{dsn: dsn, name: "MySQL"}
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return s, err
	}
	defer db.Close() //nolint:errcheck // nothing was written
	err = db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&s.version)
	if strings.Contains(s.version, "MariaDB") {
		s.name = "MariaDB"
	}
	return s, err
}
