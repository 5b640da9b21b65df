package lock_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver of the examples' stock
	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/pkg/lock"
)

// exampleTB lets an example use the servers of the tests. What it does not have, an example has no use for.
type exampleTB struct {
	testing.TB // nil
	cleanups   []func()
}

func (*exampleTB) Helper()                           {}
func (*exampleTB) Logf(string, ...any)               {}
func (*exampleTB) Context() context.Context          { return context.Background() }
func (*exampleTB) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (*exampleTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (*exampleTB) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (tb *exampleTB) Cleanup(f func())               { tb.cleanups = append(tb.cleanups, f) }

// servers are a Redis and, when it is asked for, a database, both real.
type servers struct {
	tb     *exampleTB
	client redis.UniversalClient
	prefix string
}

func startServers() *servers {
	s := &servers{tb: &exampleTB{}, prefix: "example:" + rand.Text() + ":"}
	s.client = lock.NewClient([]string{stacktest.Redis(s.tb)})
	return s
}

// close removes what the example left.
func (s *servers) close() {
	ctx := context.Background()
	for keys := s.client.Scan(ctx, 0, "{"+s.prefix+"}*", 1000).Iterator(); keys.Next(ctx); {
		s.client.Del(ctx, keys.Val())
	}
	_ = s.client.Close()
	for i := len(s.tb.cleanups) - 1; i >= 0; i-- {
		s.tb.cleanups[i]()
	}
}

// stock is a database with one row in a table of stock.
func (s *servers) stock(sku string, available int) *sql.DB {
	db, err := sql.Open("mysql", dbtest.NewDSN(s.tb, nil))
	if err != nil {
		panic(err)
	}
	s.tb.Cleanup(func() { _ = db.Close() })
	for _, statement := range []string{
		"CREATE TABLE stock (sku VARCHAR(64) PRIMARY KEY, available INT NOT NULL, fence BIGINT NOT NULL DEFAULT 0)",
		fmt.Sprintf("INSERT INTO stock (sku, available) VALUES ('%s', %d)", sku, available),
	} {
		if _, err := db.Exec(statement); err != nil {
			panic(err)
		}
	}
	return db
}

// steal puts another owner's key where a lock is.
func (s *servers) steal(key string) {
	s.client.Set(context.Background(), "{"+s.prefix+"}key:"+key, "somebody else", time.Minute)
}

// loseCounter takes the fencing counter away.
func (s *servers) loseCounter() {
	s.client.Del(context.Background(), "{"+s.prefix+"}fence")
}
