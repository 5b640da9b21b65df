// Package flawed is a gallery of real mistakes: each is a way of reserving stock that was shipped, mostly in code from which
// others learned, reduced to what is wrong with it. Lay a flaw beside the strategy that it names as its cure.
//
// No service imports this package, in no mode: its code runs in tests (strategy.TestFlawed, which prints the harm that each
// does on real servers, and has its cure under the same load do none) and in lessons, through inventorylab. And like every
// strategy that is not safe, a flaw sells only products that were created for the lab.
package flawed

import (
	"context"

	"github.com/redis/go-redis/v9"
	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
)

// Flaw describes a mistake and makes it.
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
	Locker strategy.Locker       // a good lock in wrong hands
	Redis  redis.UniversalClient // for locks made by hand
	Prefix string                // of their keys
}

// List returns the gallery in the order in which one meets the mistakes: with the lock, with several locks, with the
// database, with stock in several places, with stock in Redis.
func List() []Flaw {
	return []Flaw{
		{"unlock-before-commit", "the next one reads before the first has committed", "redis-lock", newUnlockBeforeCommit},
		{"save-after-expiry", "a holder whose lease has ended writes what it read in another time", "redis-lock", newSaveAfterExpiry},
		{"leaked-lock", "the lock stays behind when an order is refused", "redis-lock", newLeakedLock},
		{"release-by-anyone", "whoever comes late deletes the next one's lock", "redis-lock", newReleaseByAnyone},
		{"endless-renewal", "a holder that hangs keeps its lock for ever", "redis-lock", newEndlessRenewal},
		{"unsorted-locks", "two orders wait for each other's second lock", "redis-lock", newUnsortedLocks},
		{"other-connection", "the row is locked on a connection that is not the transaction's", "for-update", newOtherConnection},
		{"above-zero", "enough for one is taken for enough", "conditional", newAboveZero},
		{"unchecked-rows", "an UPDATE that changed nothing is taken for a sale", "conditional", newUncheckedRows},
		{"snapshot-loop", "the retry looks at the same old snapshot for ever", "optimistic", newSnapshotLoop},
		{"one-bucket", "an empty bucket is taken for an empty shop", "buckets", newOneBucket},
		{"skip-and-refuse", "units that others are looking at are taken for sold", "skip-locked", newSkipAndRefuse},
		{"lua-twice", "a repeated order takes a second time", "redis-lua", newLuaTwice},
		{"release-in-redis", "Redis is told of a release, and MySQL is not", "redis-lua", newReleaseInRedis},
		{"warm-up", "a warm-up writes an old number over a counter that sells", "redis-lua", newWarmUp},
	}
}
