package compare

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack"
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
	a := &admin{cfg: cfg, db: sql.OpenDB(connector)}
	a.db.SetConnMaxIdleTime(time.Minute)
	if err := a.db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("reach the database server: %w", err), a.db.Close())
	}
	return a, nil
}

func (a *admin) close() { _ = a.db.Close() }

// name returns the name of the newest database. The process id separates two comparisons on one server.
func (a *admin) name() string { return fmt.Sprintf("holdfast_compare_%d_%d", os.Getpid(), a.made) }

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

// settings returns the server settings on which the figures depend. Some servers lack some of them.
func settings() []string {
	return []string{
		"innodb_flush_log_at_trx_commit", "sync_binlog", "log_bin", "innodb_buffer_pool_size", "innodb_flush_method", "max_connections",
	}
}

func environment(ctx context.Context, a *admin, o Options) (Environment, error) {
	e := Environment{
		CPU: cpu(), Cores: runtime.NumCPU(), OS: kernel(), Go: runtime.Version(),
		Settings: map[string]string{}, Pool: o.Pool,
	}
	if err := a.db.QueryRowContext(ctx, "SELECT CONCAT(@@version_comment, ' ', VERSION())").Scan(&e.Database); err != nil {
		return e, fmt.Errorf("read the database's version: %w", err)
	}
	for _, name := range settings() {
		var got, value string
		err := a.db.QueryRowContext(ctx, "SHOW GLOBAL VARIABLES LIKE '"+name+"'").Scan(&got, &value)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return e, fmt.Errorf("read %s: %w", name, err)
		}
		e.Settings[name] = value
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

// cpu returns the processor's name, or "" if it cannot be read.
func cpu() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // read only
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return runtime.GOOS + " " + strings.TrimSpace(string(b))
}
