package trial

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"gorm.io/gorm"

	"holdfast/exercises/internal/explore"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/lab/step"
	"holdfast/pkg/database"
)

// Servers gives a check its servers: those that HOLDFAST_MYSQL and HOLDFAST_REDIS name, or private ones, which end with
// the test process.
type Servers struct {
	tb       testing.TB
	prefixes []string
	cleanups []func(ctx context.Context) error
}

const (
	// lockWait is longer than a run lasts: it is the exploration that ends a wait without an end.
	lockWait = 30 * time.Second
	// idle is how long a transaction may be silent. An actor is while the others act.
	idle = time.Minute
	// cleanTimeout bounds the end of a check.
	cleanTimeout = time.Minute
)

// Database creates a database named lesson_ex_..., executes the SQL text in it, which may be several statements, and
// opens a pool: READ COMMITTED, as everywhere in Holdfast. It is dropped when the check ends.
func (s *Servers) Database(ctx context.Context, schema string) (*gorm.DB, error) {
	admin := stacktest.MySQL(s.tb)
	name := "lesson_ex_" + strings.ToLower(rand.Text())
	server, err := openServer(admin, "")
	if err != nil {
		return nil, err
	}
	s.onClose(func(context.Context) error { return server.Close() })
	if _, err := server.ExecContext(ctx, "CREATE DATABASE "+name); err != nil {
		return nil, fmt.Errorf("create the exercise's database: %w", err)
	}
	s.onClose(func(ctx context.Context) error {
		_, err := server.ExecContext(ctx, "DROP DATABASE "+name)
		return err
	})
	if err := execute(ctx, admin, name, schema); err != nil {
		return nil, fmt.Errorf("create the exercise's tables: %w", err)
	}
	cfg, err := mysql.ParseDSN(admin)
	if err != nil {
		return nil, err
	}
	cfg.DBName = name
	db, err := database.Open(ctx, cfg.FormatDSN(), database.Options{MaxOpen: 8, LockWait: lockWait, IdleTimeout: idle})
	if err != nil {
		return nil, err
	}
	s.onClose(func(context.Context) error { return database.Close(db) })
	return db, nil
}

// openServer opens a pool that takes several statements in one text.
func openServer(dsn, name string) (*sql.DB, error) {
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("HOLDFAST_MYSQL: %w", err)
	}
	cfg.DBName, cfg.MultiStatements = name, true
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

func execute(ctx context.Context, dsn, name, schema string) error {
	db, err := openServer(dsn, name)
	if err != nil || schema == "" {
		return err
	}
	_, err = db.ExecContext(ctx, schema)
	return errors.Join(err, db.Close())
}

// scanCount is how many keys are looked through at once.
const scanCount = 1000

// Redis returns a client and a prefix for the keys of this check, which are deleted when it ends. Findings show the
// keys without the prefix.
func (s *Servers) Redis(ctx context.Context) (client *redis.Client, prefix string, err error) {
	addr := stacktest.Redis(s.tb) //nolint:contextcheck // its test has a context of its own
	client = redis.NewClient(&redis.Options{
		Addr: addr, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	prefix = "ex_" + strings.ToLower(rand.Text()) + ":"
	s.prefixes = append(s.prefixes, prefix)
	s.onClose(func(context.Context) error { return client.Close() })
	s.onClose(func(ctx context.Context) error {
		keys := client.Scan(ctx, 0, prefix+"*", scanCount).Iterator()
		for keys.Next(ctx) {
			if err := client.Del(ctx, keys.Val()).Err(); err != nil {
				return err
			}
		}
		return keys.Err()
	})
	return client, prefix, client.Ping(ctx).Err()
}

func (s *Servers) onClose(do func(ctx context.Context) error) { s.cleanups = append(s.cleanups, do) }

// close frees what the check has used, the last first.
func (s *Servers) close() {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.tb.Context()), cleanTimeout)
	defer cancel()
	for _, do := range slices.Backward(s.cleanups) {
		if err := do(ctx); err != nil {
			s.tb.Errorf("clean up after the check: %v", err)
		}
	}
}

// hidePrefixes takes the prefixes of keys out of the steps: they differ each time, and say nothing.
func (s *Servers) hidePrefixes(f *explore.Finding) {
	for _, prefix := range s.prefixes {
		for i := range f.Steps {
			f.Steps[i].Does = strings.ReplaceAll(f.Steps[i].Does, prefix, "")
			f.Steps[i].Result = strings.ReplaceAll(f.Steps[i].Result, prefix, "")
		}
		for _, text := range []*step.Text{&f.What, &f.Why, &f.Do} {
			hide(text, prefix)
		}
	}
}

func hide(t *step.Text, prefix string) {
	for i, arg := range t.Args {
		switch arg := arg.(type) {
		case string:
			t.Args[i] = strings.ReplaceAll(arg, prefix, "")
		case step.Text:
			hide(&arg, prefix)
		}
	}
}
