package bench

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/lab/load"
	"holdfast/pkg/mq"
)

// Counters are values that only grow, read before and after a measurement.
type Counters struct {
	CPU        map[string]time.Duration // by process; "generator" is this one
	Statements int64
	Commits    int64 // by COMMIT; a statement outside a transaction commits without one
	Bytes      int64 // between the database server and its clients, both ways
	RowsRead   int64 // rows and index entries that the database server read
	Redo       int64 // bytes that the database server wrote into its redo log
	Messages   int64 // copies that the broker stored; -1: it does not say
}

// generator is this process in Counters.CPU.
const generator = "generator"

// Meter reads counters.
type Meter struct {
	DB      *stdsql.DB // nil: the database and the broker are not asked
	Namesrv string
	PIDs    map[string]int // processes by name
}

// Read reads the counters.
func (m Meter) Read(ctx context.Context) (Counters, error) {
	c := Counters{CPU: map[string]time.Duration{generator: load.CPUTime()}, Messages: -1}
	for name, pid := range m.PIDs {
		used, err := processCPU(pid)
		if err != nil {
			return c, fmt.Errorf("read the CPU time of %s: %w", name, err)
		}
		c.CPU[name] = used
	}
	if m.DB == nil {
		return c, nil
	}
	if err := m.database(ctx, &c); err != nil {
		return c, fmt.Errorf("read the database server's counters: %w", err)
	}
	if n, err := mq.Stored(ctx, m.Namesrv); err == nil { // the development broker does not count
		c.Messages = n
	}
	return c, nil
}

func (m Meter) database(ctx context.Context, c *Counters) (err error) {
	rows, err := m.DB.QueryContext(ctx, `SHOW GLOBAL STATUS WHERE Variable_name IN
		('Questions', 'Com_commit', 'Bytes_received', 'Bytes_sent', 'Innodb_os_log_written') OR Variable_name LIKE 'Handler_read%'`)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // Err below
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return err
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		switch {
		case name == "Questions":
			c.Statements = n
		case name == "Com_commit":
			c.Commits = n
		case name == "Innodb_os_log_written":
			c.Redo = n
		case strings.HasPrefix(name, "Handler_read"):
			c.RowsRead += n
		default:
			c.Bytes += n
		}
	}
	return rows.Err()
}

// Since returns what was counted after an earlier reading.
func (c Counters) Since(before Counters) Counters {
	d := Counters{
		CPU: map[string]time.Duration{}, Statements: c.Statements - before.Statements, Commits: c.Commits - before.Commits,
		Bytes: c.Bytes - before.Bytes, RowsRead: c.RowsRead - before.RowsRead,
		Redo: c.Redo - before.Redo, Messages: -1,
	}
	for name, used := range c.CPU {
		d.CPU[name] = used - before.CPU[name]
	}
	if c.Messages >= 0 && before.Messages >= 0 {
		d.Messages = c.Messages - before.Messages
	}
	return d
}
