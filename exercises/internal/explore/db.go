package explore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"

	gormmysql "gorm.io/driver/mysql"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// actorConns is how many connections an actor has at most. More than one: the learner's code may use the database
// beside its transaction.
const actorConns = 4

// database opens a pool of the actor's own on db's server. The steps are taken below gorm and database/sql, where every
// statement passes, whichever of their functions sends it.
func (h *Handle) database(db *gorm.DB, session []string) *gorm.DB {
	stepped, err := h.openDatabase(db, session)
	if err != nil {
		failed := db.Session(&gorm.Session{NewDB: true})
		_ = failed.AddError(fmt.Errorf("open the actor's database: %w", err))
		return failed
	}
	return stepped
}

func (h *Handle) openDatabase(db *gorm.DB, session []string) (*gorm.DB, error) {
	watch, err := db.DB()
	if err != nil {
		return nil, err
	}
	d, ok := watch.Driver().(driver.DriverContext)
	if !ok {
		return nil, fmt.Errorf("the pool was not opened with database.Open but with %T", watch.Driver())
	}
	inner, err := d.OpenConnector("")
	if err != nil {
		return nil, err
	}
	pool := sql.OpenDB(&connector{Connector: inner, h: h, watch: watch, session: session})
	pool.SetMaxOpenConns(actorConns)
	pool.SetMaxIdleConns(actorConns)
	h.opened(pool)
	return gorm.Open(gormmysql.New(gormmysql.Config{Conn: pool, SkipInitializeWithVersion: true}), &gorm.Config{
		SkipDefaultTransaction: db.SkipDefaultTransaction, DisableAutomaticPing: true, NowFunc: db.NowFunc, Logger: logger.Discard,
	})
}

// connector opens connections whose statements are steps.
type connector struct {
	driver.Connector
	h       *Handle
	watch   *sql.DB  // a pool that is not the actor's, to ask the server about the actor's connections
	session []string // statements for each new connection
}

// Connect implements driver.Connector. It is no step: nothing that another actor could see happens.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	if err := c.h.a.refused(); err != nil {
		return nil, err
	}
	raw, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	full, ok := raw.(fullConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the driver's connection %T lacks methods we forward", raw), raw.Close())
	}
	for _, statement := range c.session {
		if _, err := full.ExecContext(ctx, statement, nil); err != nil {
			return nil, errors.Join(fmt.Errorf("prepare the actor's connection: %w", err), raw.Close())
		}
	}
	id, err := connectionID(ctx, full)
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	conn := &conn{raw: full, h: c.h, watch: c.watch, id: id}
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	c.h.conns = append(c.h.conns, conn)
	return conn, nil
}

func connectionID(ctx context.Context, c fullConn) (int64, error) {
	rows, err := c.QueryContext(ctx, "SELECT CONNECTION_ID()", nil)
	if err != nil {
		return 0, fmt.Errorf("read the connection's id: %w", err)
	}
	data, err := readRows(rows)
	if err != nil {
		return 0, fmt.Errorf("read the connection's id: %w", err)
	}
	return strconv.ParseInt(text(data.values[0][0]), 10, 64)
}
