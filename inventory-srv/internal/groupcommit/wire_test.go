package groupcommit_test

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-sql-driver/mysql"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/pkg/database"
	"holdfast/sql"
)

// wire is a way to the database that can lose one COMMIT, or the answer to it, and counts the lock waits that ran out.
type wire struct {
	lose    atomic.Bool // the next COMMIT
	arrives atomic.Bool // whether the server gets it
	refuse  atomic.Bool // after that no connection is made any more

	lockWaits atomic.Int64 // answers with error 1205
}

// world returns a world whose set's statements go over the wire.
func (w *wire) world(t *testing.T, o database.Options) *world {
	t.Helper()
	dsn := dbtest.NewDSN(t, sql.Inventory())
	return newWorldOn(t, dsn, w.open(t, dsn, o))
}

// open returns a pool whose connections go over the wire.
func (w *wire) open(t *testing.T, dsn string, o database.Options) *gorm.DB {
	t.Helper()
	network := "wire-" + strings.ToLower(t.Name())
	mysql.RegisterDialContext(network, func(ctx context.Context, addr string) (net.Conn, error) {
		if w.refuse.Load() {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: net.ErrClosed}
		}
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		return &wireConn{Conn: c, wire: w}, err
	})
	t.Cleanup(func() { mysql.DeregisterDialContext(network) })
	return dbtest.Open(t, strings.Replace(dsn, "@tcp(", "@"+network+"(", 1), o)
}

// eachLoss runs f on two worlds with three units of A: one loses the COMMIT that is to be lost, the other its answer.
func eachLoss(t *testing.T, f func(t *testing.T, wire *wire, w *world)) {
	t.Helper()
	for name, arrives := range map[string]bool{"its answer": true, "itself": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var wire wire
			wire.arrives.Store(arrives)
			w := wire.world(t, database.Options{MaxOpen: 32})
			w.has(t, "A", 3)
			f(t, &wire, w)
		})
	}
}

type wireConn struct {
	net.Conn
	wire *wire
}

// Write loses the COMMIT that is to be lost and closes the connection.
func (c *wireConn) Write(p []byte) (int, error) {
	if !strings.Contains(string(p), "COMMIT") || !c.wire.lose.CompareAndSwap(true, false) {
		return c.Conn.Write(p)
	}
	if c.wire.arrives.Load() {
		if n, err := c.Conn.Write(p); err != nil {
			return n, err
		}
		_, _ = c.Read(make([]byte, 1)) // the answer is here: it has committed
	}
	return len(p), c.Close()
}

// Read counts the lock waits that ran out.
func (c *wireConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.wire.lockWaits.Add(int64(bytes.Count(p[:n], []byte("Lock wait timeout exceeded"))))
	return n, err
}
