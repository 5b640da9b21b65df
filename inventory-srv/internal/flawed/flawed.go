// Package flawed is a gallery of real mistakes. Each is a way of reserving stock from published code, mostly from
// tutorials, reduced to its fault. Read a flaw beside the strategy that it names as its cure.
//
// No service imports this package, in any mode. Its code runs in strategy.TestFlawed, which counts the violations that
// each flaw causes on real servers and checks that its cure causes none, and in the lessons, which open it with
// inventorylab.OpenFlaw. Like every unsafe strategy, a flaw sells only products that were created for the lab.
package flawed

import (
	"context"

	"github.com/redis/go-redis/v9"
	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
)

// Flaw describes a mistake.
type Flaw struct {
	Name  string
	Fault string // what goes wrong, in a sentence
	Cure  string // the strategy that does the same work right
	New   func(Deps) Reserver
}

// Reserver is as much of a stock.Reserver as a flaw has: confirm and release are those of the row layout.
type Reserver interface {
	Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error)
}

// Deps is what flaws are made of.
type Deps struct {
	Ledger *store.Ledger
	DB     *gorm.DB              // the pool under the ledger
	Locker strategy.Locker       // a correct lock, used wrongly
	Redis  redis.UniversalClient // for HandLock
	Prefix string                // of their keys
}

// List returns the gallery in reading order: one lock, several locks, the database, stock in several rows, stock in
// Redis.
func List() []Flaw {
	return []Flaw{
		{"unlock-before-commit", "the next order reads before the first has committed", "redis-lock", newUnlockBeforeCommit},
		{"save-after-expiry", "a holder whose lease has ended writes what it read before", "redis-lock", newSaveAfterExpiry},
		{"leaked-lock", "the lock is not released when an order is refused", "redis-lock", newLeakedLock},
		{"release-by-anyone", "a late holder deletes the next holder's lock", "redis-lock", newReleaseByAnyone},
		{"endless-renewal", "a holder that hangs keeps its lock", "redis-lock", newEndlessRenewal},
		{"unsorted-locks", "two orders wait for each other's second lock", "redis-lock", newUnsortedLocks},
		{"other-connection", "the row is locked on a connection that is not the transaction's", "for-update", newOtherConnection},
		{"above-zero", "the condition checks for one unit and not for the quantity", "conditional", newAboveZero},
		{"unchecked-rows", "an UPDATE that changed no row counts as a sale", "conditional", newUncheckedRows},
		{"snapshot-loop", "every retry reads the same old snapshot", "optimistic", newSnapshotLoop},
		{"one-bucket", "one empty bucket counts as sold out", "buckets", newOneBucket},
		{"skip-and-refuse", "units that other orders have locked count as sold", "skip-locked", newSkipAndRefuse},
		{"lua-twice", "a retried order deducts twice", "redis-lua", newLuaTwice},
		{"release-in-redis", "a release changes Redis and not MySQL", "redis-lua", newReleaseInRedis},
		{"warm-up", "a warm-up overwrites a counter in use with an old number", "redis-lua", newWarmUp},
	}
}
