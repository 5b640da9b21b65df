package lesson

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"slices"

	"holdfast/internal/lab/step"
)

// The statements of two relays, and of the transactions that write messages. The second relay reads as pkg/outbox does:
// sent_at is NULL until a message is sent, and is the first column of an index.
const (
	createMessages = `CREATE TABLE messages (id BIGINT NOT NULL AUTO_INCREMENT, sent_at DATETIME(6) NULL,
		PRIMARY KEY (id), KEY messages_unsent (sent_at, id))`
	insertMessage = "INSERT INTO messages (sent_at) VALUES (NULL)"
	readByOffset  = "SELECT id FROM messages WHERE id > ? ORDER BY id"
	readUnsent    = "SELECT id FROM messages WHERE sent_at IS NULL ORDER BY id"
	markSent      = "UPDATE messages SET sent_at = UTC_TIMESTAMP(6) WHERE id = ?"
)

// poller is a relay that reads the table. By offset it remembers the last id that it has sent.
type poller struct {
	db       *stdsql.DB
	byOffset bool
	last     int64
	sent     []int64
}

// poll sends what it finds, and returns the ids.
func (p *poller) poll(ctx context.Context) (ids []int64, err error) {
	query, args := readUnsent, []any{}
	if p.byOffset {
		query, args = readByOffset, []any{p.last}
	}
	rows, err := p.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what is wrong
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for _, id := range ids {
		if _, err := p.db.ExecContext(ctx, markSent, id); err != nil {
			return nil, err
		}
		p.last = id
	}
	p.sent = append(p.sent, ids...)
	return ids, nil
}

// reads is a step in which the relay polls.
func (p *poller) reads(ask string) step.Step {
	statement := readUnsent
	if p.byOffset {
		statement = readByOffset
	}
	return step.Step{Label: step.T("local-message-table.polls"), Ask: ask, Statement: statement, Do: func(ctx context.Context) (step.Result, error) {
		ids, err := p.poll(ctx)
		return step.Result{Text: step.T("local-message-table.polls.got", fmt.Sprint(ids))}, err
	}}
}

// polling lets a relay read while a transaction with a smaller id is still open. name is the scene's.
func (e *Env) polling(ctx context.Context, name string, byOffset bool, want []int64) (*step.Stage, error) {
	_, db, err := e.database(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, createMessages); err != nil {
		return nil, err
	}
	slow, err := db.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return nil, err
	}
	e.Clean(func(context.Context) error {
		_ = slow.Rollback() // the scene may have committed it
		return nil
	})
	inserts := func(label, statement string, do func(context.Context) (stdsql.Result, error)) step.Step {
		return step.Step{Label: step.T(label), Statement: statement, Do: func(ctx context.Context) (step.Result, error) {
			res, err := do(ctx)
			if err != nil {
				return step.Result{}, err
			}
			id, err := res.LastInsertId()
			return step.Result{Text: step.T(label+".got", id)}, err
		}}
	}
	relay := &poller{db: db, byOffset: byOffset}
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "A", Steps: []step.Step{
				inserts("local-message-table.begins", "BEGIN; "+insertMessage, func(ctx context.Context) (stdsql.Result, error) {
					return slow.ExecContext(ctx, insertMessage)
				}),
				{Label: step.T("local-message-table.commit"), Statement: "COMMIT", Do: func(context.Context) (step.Result, error) {
					return step.Result{}, slow.Commit()
				}},
			}},
			{Name: "B", Steps: []step.Step{
				inserts("local-message-table.writes", "BEGIN; "+insertMessage+"; COMMIT", func(ctx context.Context) (stdsql.Result, error) {
					return db.ExecContext(ctx, insertMessage)
				}),
			}},
			{Name: "R", Steps: []step.Step{relay.reads(""), relay.reads("local-message-table.polls.ask")}},
		},
		Order: []string{"A", "B", "R", "A", "R"},
		Look:  []step.Looker{lookQuery(db, step.T("local-message-table.outbox"), "SELECT id, sent_at FROM messages ORDER BY id")},
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(slices.Equal(relay.sent, want), "local-message-table."+name+".claim")
			return nil
		},
	}, nil
}
