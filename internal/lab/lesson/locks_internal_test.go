package lesson

import "testing"

// monitor is a text of SHOW ENGINE INNODB STATUS, shortened: 11 waits, 12 does not, and 12 waited in the last deadlock.
const monitor = `
------------------------
LATEST DETECTED DEADLOCK
------------------------
*** (1) TRANSACTION:
TRANSACTION 30, ACTIVE 0 sec starting index read
LOCK WAIT 4 lock struct(s), heap size 1128, 2 row lock(s)
MySQL thread id 12, OS thread handle 1, query id 1 localhost root Statistics
------------
TRANSACTIONS
------------
Trx id counter 40
---TRANSACTION 33, ACTIVE 1 sec starting index read
mysql tables in use 1, locked 1
LOCK WAIT 2 lock struct(s), heap size 1128, 1 row lock(s)
MariaDB thread id 11, OS thread handle 1, query id 1 localhost root Statistics
SELECT available FROM stock WHERE sku = 'MUG-CLASSIC' FOR UPDATE
------- TRX HAS BEEN WAITING 1 SEC FOR THIS LOCK TO BE GRANTED:
---TRANSACTION 31, ACTIVE 2 sec
2 lock struct(s), heap size 1128, 1 row lock(s)
MySQL thread id 12, OS thread handle 2, query id 2 localhost root
---TRANSACTION (0x7f), not started
0 lock struct(s), heap size 1128, 0 row lock(s)
`

func TestWaitsIn(t *testing.T) {
	t.Parallel()
	for connection, want := range map[int64]bool{11: true, 12: false, 1: false} {
		if got := waitsIn(monitor, connection); got != want {
			t.Errorf("connection %d waits: %t, want %t", connection, got, want)
		}
	}
}

func TestRowLocksIn(t *testing.T) {
	t.Parallel()
	for connection, want := range map[int64]int64{11: 1, 12: 1, 1: 0} {
		if got := rowLocksIn(monitor, connection); got != want {
			t.Errorf("connection %d has %d record locks, want %d", connection, got, want)
		}
	}
}
