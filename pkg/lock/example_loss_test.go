package lock_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"holdfast/pkg/lock"
)

// What to do on loss: nothing that was not committed has happened, so take a new lease and begin again, from the read
// on. A token that was refused means one of two things, and the answer to both is to raise the counter to what the row
// has seen and to queue again: a newer lease has claimed, or Redis has lost the counter and hands out tokens that it
// handed out before.
func ExampleRedis_Raise() {
	servers := startServers()
	defer servers.close()
	db := servers.stock("MUG", 10)
	locker, err := lock.NewRedis(servers.client, lock.WithPrefix(servers.prefix))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer locker.Close()

	sell := func(ctx context.Context) error {
		for {
			lease, err := locker.Acquire(ctx, "MUG")
			if err != nil {
				return err // nothing was done
			}
			fence, err := sellOne(lease.Context(), db, lease.Token("MUG"))
			if errors.Is(err, lock.ErrStale) {
				fmt.Printf("token %d is refused, the row has seen %d\n", lease.Token("MUG"), fence)
				err = errors.Join(locker.Raise(ctx, "MUG", fence), lease.Release(ctx))
				if err != nil {
					return err
				}
				continue
			}
			cut := err != nil && lease.Context().Err() != nil && ctx.Err() == nil
			if err := lease.Release(ctx); err != nil {
				fmt.Println("the key lives to the end of its TTL:", err) // what is committed is committed
			}
			if !cut {
				return err
			}
			// The lease was lost in the middle, and with its context the transaction.
		}
	}

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for range 3 {
		if err := sell(ctx); err != nil {
			fmt.Println(err)
		}
	}
	servers.loseCounter() // a restart without persistence, a flush, a failover to a replica that was behind
	fmt.Println(sell(ctx))
	// Output:
	// token 1 is refused, the row has seen 3
	// <nil>
}

// sellOne takes one unit under a fencing token. When the token is refused it returns the newest one that the row has
// seen.
func sellOne(ctx context.Context, db *sql.DB, token int64) (fence int64, err error) {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }()
	claimed, err := tx.Exec("UPDATE stock SET fence = ? WHERE sku = 'MUG' AND fence < ?", token, token)
	if err != nil {
		return 0, err
	}
	n, err := claimed.RowsAffected()
	if err != nil {
		return 0, err
	}
	var available int
	if err := tx.QueryRow("SELECT fence, available FROM stock WHERE sku = 'MUG'").Scan(&fence, &available); err != nil {
		return 0, err
	}
	if n == 0 {
		return fence, lock.ErrStale
	}
	if _, err := tx.Exec("UPDATE stock SET available = ? WHERE sku = 'MUG'", available-1); err != nil {
		return 0, err
	}
	return token, tx.Commit()
}
