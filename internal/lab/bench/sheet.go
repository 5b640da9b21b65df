package bench

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"holdfast/internal/lab/machine"
)

// Sheet says what must be known before two figures are compared: which promises the servers kept while they were
// measured, and who paid for what. A report without it is refused by [Read], and a table is never printed without it.
type Sheet struct {
	machine.Machine
	Isolation string `json:"isolation"`  // the server's default; each strategy's transactions set their own
	InFlight  string `json:"in_flight"`  // how many orders wait for an answer
	Pipelined string `json:"pipelining"` // whether a connection sends an order before it has the last answer
	CPU       string `json:"cpu_counted"`
	Goodput   string `json:"counted_as_order"`
	Durable   string `json:"durable"`
	Broker    string `json:"broker"`
	Meanwhile string `json:"meanwhile,omitempty"` // what the shop does beside the run's orders; empty: nothing
}

func sheet(ctx context.Context, o Options) (Sheet, error) {
	s := Sheet{
		InFlight:  "one order on each connection",
		Pipelined: "none: HTTP/1.1, the next order after the answer",
		CPU: "user and system time of each process from /proc, the generator's too; generator, chain and shop share the machine, " +
			"and the shop is idle while the chain is measured",
		Goodput: fmt.Sprintf("answered 201 within %v, or 202 and PLACED within that time, if flows are compared; the chain answers every order", deadline),
		Broker:  "unknown",
	}
	var err error
	if s.Machine, err = machine.Describe(ctx, o.MySQL); err != nil {
		return s, err
	}
	s.Durable = s.Durability()
	if s.Isolation, err = isolation(ctx, o.MySQL); err != nil {
		return s, fmt.Errorf("read the isolation level: %w", err)
	}
	if o.Broker != "" {
		s.Broker = o.Broker
	}
	if s.Meanwhile, err = meanwhile(ctx, o.MySQL, "orders.orders", o.Preset.length()); err != nil {
		return s, fmt.Errorf("look for orders that expire: %w", err)
	}
	return s, nil
}

// meanwhile says how many orders of earlier runs expire while this one measures. A full payment window after a load the
// shop expires what nobody has paid, in groups, which costs it as much as placing: the cells of that time are slower.
func meanwhile(ctx context.Context, db *stdsql.DB, table string, length time.Duration) (string, error) {
	var orders int
	err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+table+
		" WHERE status = 'PLACED' AND due_at < TIMESTAMPADD(SECOND, ?, UTC_TIMESTAMP(6))", int(length.Seconds())).Scan(&orders)
	if err != nil || orders == 0 {
		return "", err
	}
	return fmt.Sprintf("orders of earlier runs expire, which makes cells slower: %d", orders), nil
}

// isolation reads the variable under either of its names.
func isolation(ctx context.Context, db *stdsql.DB) (level string, err error) {
	var name string
	err = db.QueryRowContext(ctx, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('transaction_isolation', 'tx_isolation')").Scan(&name, &level)
	return level, err
}

// check returns what the sheet lacks.
func (s Sheet) check() error {
	var missing []string
	for name, value := range map[string]string{
		"database": s.Database, "durability": s.Settings["innodb_flush_log_at_trx_commit"], "isolation": s.Isolation, "in_flight": s.InFlight,
		"pipelining": s.Pipelined, "cpu_counted": s.CPU, "counted_as_order": s.Goodput, "broker": s.Broker,
	} {
		if value == "" {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		return errors.New("the fairness sheet lacks " + strings.Join(missing, ", "))
	}
	return nil
}
