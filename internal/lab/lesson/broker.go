package lesson

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"holdfast/internal/lab/step"
	"holdfast/pkg/database"
	"holdfast/pkg/mq"
)

// broker is the broker that lessons share. Each scene has a namespace of its own, so that no message of an earlier run
// or of the shop comes into it.
type broker struct {
	e    *Env
	addr string // of the name server
	name string // and version, for output
}

func (e *Env) broker(ctx context.Context) (*broker, error) {
	addr, name, err := e.cfg.Servers.Broker(ctx)
	return &broker{e: e, addr: addr, name: name}, err
}

// note says which broker the lesson uses.
func (b *broker) note() step.Note { return step.Note{Text: step.T("lesson.broker", b.name)} }

// namespace returns a namespace for a scene. Its topics and groups are deleted at the end of the scene, after the buses
// and the processes that were opened later have ended.
func (b *broker) namespace() string {
	b.e.mu.Lock()
	b.e.namespaces++
	namespace := fmt.Sprintf("lesson-%s-%d", b.e.id, b.e.namespaces)
	b.e.mu.Unlock()
	b.e.Clean(func(ctx context.Context) error { return mq.DeleteNamespace(ctx, b.addr, namespace) })
	return namespace
}

// startLimit bounds the start of a bus on a busy machine; it takes a tenth of a second as a rule.
const startLimit = time.Minute

// bus starts a bus in a namespace, with what declare subscribes to. It is closed at the end of the scene.
func (b *broker) bus(ctx context.Context, namespace string, topic mq.Topic, declare func(*mq.Bus)) (*mq.Bus, error) {
	bus, closing, err := startBus(ctx, b.addr, namespace, topic, declare)
	if err != nil {
		return nil, err
	}
	b.e.Clean(closing)
	return bus, nil
}

// startBus starts a bus without a log and returns it with its Close.
func startBus(
	ctx context.Context, namesrv, namespace string, topic mq.Topic, declare func(*mq.Bus),
) (bus *mq.Bus, closing func(context.Context) error, err error) {
	bus, err = mq.Open(mq.Config{
		Namesrv: []string{namesrv}, Namespace: namespace, Topics: []mq.Topic{topic}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, nil, err
	}
	if declare != nil {
		declare(bus)
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := bus.Start(ctx); err != nil {
		return nil, nil, errors.Join(err, bus.Close(context.WithoutCancel(ctx)))
	}
	return bus, bus.Close, nil
}

// table opens the lesson's database, in which it creates a table. It is closed at the end.
func (e *Env) table(ctx context.Context, create string) (*stdsql.DB, string, error) {
	dsn, db, err := e.database(ctx)
	if err != nil {
		return nil, "", err
	}
	_, err = db.ExecContext(ctx, create)
	return db, dsn, err
}

// openPool opens a database and returns it with its Close.
func openPool(ctx context.Context, dsn string) (pool *stdsql.DB, closing func() error, err error) {
	db, err := database.Open(ctx, dsn, database.Options{})
	if err != nil {
		return nil, nil, err
	}
	if pool, err = db.DB(); err != nil {
		return nil, nil, errors.Join(err, database.Close(db))
	}
	return pool, func() error { return database.Close(db) }, nil
}
