package outbox_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"testing"

	"github.com/oklog/ulid/v2"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/pkg/database"
	"holdfast/pkg/mq"
	"holdfast/pkg/outbox"
	"holdfast/pkg/telemetry"
	"holdfast/sql"
)

// Each subject has two messages, in this order.
const (
	topicFirst  = "first"
	topicSecond = "second"
)

var errBroker = errors.New("the broker does not take it")

func newTable(t *testing.T) (*outbox.Table, *gorm.DB) {
	t.Helper()
	return newTableIn(t, sql.Orders())
}

// newTableIn returns the outbox of a database with one service's schema.
func newTableIn(t *testing.T, schema fs.FS) (*outbox.Table, *gorm.DB) {
	t.Helper()
	db := dbtest.New(t, schema)
	return outbox.New(db, nil), db
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write commits an event.
func write(t *testing.T, table *outbox.Table, db *gorm.DB, e outbox.Event) {
	t.Helper()
	ctx := telemetry.WithRequestID(t.Context(), "request-"+e.Key)
	must(t, database.InTx(ctx, db, func(tx *gorm.DB) error { return outbox.Write(tx, e) }))
	table.Kick()
}

// begun writes the first message of a new subject, which is its shard key.
func begun(t *testing.T, table *outbox.Table, db *gorm.DB) (subject string) {
	t.Helper()
	subject = ulid.Make().String()
	write(t, table, db, outbox.Event{ID: subject + ":first", Topic: topicFirst, Key: subject, Body: map[string]string{"subject": subject}})
	return subject
}

// ended writes the second message of a subject.
func ended(t *testing.T, table *outbox.Table, db *gorm.DB, subject string) {
	t.Helper()
	write(t, table, db, outbox.Event{ID: subject + ":second", Topic: topicSecond, Key: subject, Body: map[string]string{"subject": subject}})
}

// broker takes messages, unless it is told to refuse them.
type broker struct {
	mu     sync.Mutex
	refuse func(mq.Message) error
	sent   []mq.Message
}

var _ mq.Producer = (*broker)(nil)

// Send implements mq.Producer.
func (b *broker) Send(_ context.Context, m mq.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse != nil {
		if err := b.refuse(m); err != nil {
			return err
		}
	}
	b.sent = append(b.sent, m)
	return nil
}

func (b *broker) refuseIf(refuse func(mq.Message) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuse = refuse
}

func (b *broker) messages() []mq.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.sent)
}
