package lock

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// MySQL is the Locker on the named locks of one MySQL or MariaDB server, GET_LOCK. Each lease pins a connection of the
// pool, and so does each key that this process waits for; give it a pool of its own with room for both, or a holder that
// needs a second connection for its work waits for one that a waiter has.
//
// Its locks belong to the connection and know no time, and that makes these differences:
//
//   - TTL and MaxHold are kept by this process: it closes the connection of a lease that nobody renews or releases. When
//     the process dies, its connections end and the keys are free at once; while it is stopped (SIGSTOP, a suspended
//     machine), they are held, however long that takes.
//   - A lease is lost when its connection is. The server frees the key the moment it sees that; the holder learns it at
//     its next look, TTL/3 later at most, and until then two may hold it. A short TTL is a short doubt. A call that is not
//     answered within a second counts as lost, as the driver has then given the connection up.
//   - There is no fencing token, [Lease.Token] is 0. Work that is done on the same server needs none of this: lock its rows
//     in its own transaction, which ends with its connection.
//   - Waiters stand in the server's queue, a second at a time, and not behind a wake-up.
//   - The names are the server's, whatever the database of the connection: choose the prefix accordingly. They do not
//     reach replicas or other nodes of a cluster, nor through a proxy that gives a session's statements to several.
type MySQL struct{ *locker }

var _ Locker = (*MySQL)(nil)

// NewMySQL returns a Locker that takes its connections from db, whatever its driver for MySQL is. It asks the server
// nothing yet. It refuses a nil db and options that cannot work, and names the value. The caller closes db, after the
// Locker and all its leases.
func NewMySQL(db *sql.DB, opts ...Option) (*MySQL, error) {
	set, err := newSettings(opts)
	if err != nil {
		return nil, err
	}
	if db == nil {
		return nil, errors.New("lock: db is nil")
	}
	b := &mysqlBackend{db: db, prefix: set.prefix}
	if err := b.check(set); err != nil {
		return nil, err
	}
	return &MySQL{locker: newLocker(b, set)}, nil
}

// mysqlBackend names the locks.
type mysqlBackend struct {
	db     *sql.DB
	prefix string
}

var _ backend = (*mysqlBackend)(nil)

// check implements backend.
func (b *mysqlBackend) check(set settings) error {
	if set.metadata != "" {
		return fmt.Errorf("lock: Metadata %q: MySQL's named locks store none", set.metadata)
	}
	return set.refuseReplicas("MySQL")
}

func (b *mysqlBackend) claim(keys []string, set settings) claim {
	c := &mysqlClaim{backend: b, set: set}
	for _, key := range keys {
		c.names = append(c.names, b.lockName(key))
	}
	return c
}

// listen implements backend. Waiters stand in the server's queue; there is nothing to hear.
func (b *mysqlBackend) listen(on listener) (stop func()) {
	on.ready()
	return func() {}
}

// lockName fits any key into the server's 64 characters, in which moreover "SKU-a" and "sku-A" are the same lock: a
// readable head for people who look at performance_schema, and a hash that tells keys apart.
func (b *mysqlBackend) lockName(key string) string {
	const headLength, hashLength = 23, 40
	name := b.prefix + key
	sum := sha256.Sum256([]byte(name))
	head := strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f {
			return r
		}
		return '_'
	}, name)
	return head[:min(len(head), headLength)] + "#" + hex.EncodeToString(sum[:])[:hashLength]
}
