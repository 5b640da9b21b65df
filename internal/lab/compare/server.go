package compare

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack"
	"holdfast/internal/lab/machine"
)

// Servers are the servers on which the strategies run.
type Servers struct {
	MySQL   string   // an administrator's DSN without a database
	Redis   []string // host:port
	Redlock []string // independent Redis servers, an odd number
}

// redlockNodes is the number of Redlock's servers. Three is the smallest number that tolerates the loss of one.
const redlockNodes = 3

// StartServers starts private, durable servers tied to this process. If mysqlDSN is set, that server is used and no
// MySQL is started. stop ends the servers.
func StartServers(ctx context.Context, mysqlDSN string, progress io.Writer) (s Servers, stop func(context.Context) error, err error) {
	s.MySQL = mysqlDSN
	var stops []func(context.Context) error
	stop = func(ctx context.Context) error {
		var faults []error
		for _, one := range stops {
			faults = append(faults, one(ctx))
		}
		return errors.Join(faults...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, stop(context.WithoutCancel(ctx)))
		}
	}()
	o := stack.Options{Tie: true, Log: progress}
	if s.MySQL == "" {
		m, err := stack.StartMySQL(ctx, o)
		if err != nil {
			return s, nil, err
		}
		s.MySQL, stops = m.AdminDSN(), append(stops, m.Stop)
	}
	for i := range 1 + redlockNodes {
		r, err := stack.StartRedis(ctx, o)
		if err != nil {
			return s, nil, err
		}
		stops = append(stops, r.Stop)
		if i == 0 {
			s.Redis = []string{r.Addr}
			continue
		}
		s.Redlock = append(s.Redlock, r.Addr)
	}
	return s, stop, nil
}

// admin creates databases and reads the server's settings and counters.
type admin struct {
	cfg  *mysql.Config
	db   *sql.DB
	id   string // of this comparison
	made int
}

func openAdmin(ctx context.Context, dsn string) (*admin, error) {
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("the administrator's DSN: %w", err)
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	a := &admin{cfg: cfg, db: sql.OpenDB(connector), id: strings.ToLower(rand.Text()[:8])}
	a.db.SetConnMaxIdleTime(time.Minute)
	if err := a.db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("reach the database server: %w", err), a.db.Close())
	}
	return a, nil
}

func (a *admin) close() { _ = a.db.Close() }

// name returns the name of the newest database. The id separates two comparisons on one server, and a comparison from
// what a killed one left there. A process id does not: in a container it is always 1.
func (a *admin) name() string { return fmt.Sprintf("holdfast_compare_%s_%d", a.id, a.made) }

// database creates an empty database. drop removes it, even if ctx has ended.
func (a *admin) database(ctx context.Context) (dsn string, drop func() error, err error) {
	a.made++
	name := a.name()
	if _, err := a.db.ExecContext(ctx, "CREATE DATABASE "+name+" CHARACTER SET utf8mb4"); err != nil {
		return "", nil, fmt.Errorf("create a database: %w", err)
	}
	cfg := a.cfg.Clone()
	cfg.DBName = name
	return cfg.FormatDSN(), func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_, err := a.db.ExecContext(ctx, "DROP DATABASE "+name)
		return err
	}, nil
}

// lockWaits are the server's counters since its start.
type lockWaits struct{ waits, ms int64 }

func (a *admin) lockWaits(ctx context.Context) (w lockWaits, err error) {
	for name, to := range map[string]*int64{"Innodb_row_lock_waits": &w.waits, "Innodb_row_lock_time": &w.ms} {
		var got string
		if err := a.db.QueryRowContext(ctx, "SHOW GLOBAL STATUS LIKE '"+name+"'").Scan(&got, to); err != nil {
			return w, fmt.Errorf("read %s: %w", name, err)
		}
	}
	return w, nil
}

func environment(ctx context.Context, a *admin, o Options) (Environment, error) {
	e := Environment{Pool: o.Pool}
	var err error
	if e.Machine, err = machine.Describe(ctx, a.db); err != nil {
		return e, err
	}
	if len(o.Servers.Redis) == 0 {
		return e, errors.New("no Redis to compare on")
	}
	client := redis.NewClient(&redis.Options{Addr: o.Servers.Redis[0]})
	defer client.Close() //nolint:errcheck // nothing was written
	info, err := client.InfoMap(ctx, "server").Result()
	if err != nil {
		return e, fmt.Errorf("read Redis's version: %w", err)
	}
	e.Redis = info["Server"]["redis_version"]
	return e, nil
}
