package groupcommit

import (
	"errors"
	"slices"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/pkg/batch"
)

// errSetAside is the answer to a call that was not executed because another session has locked a row that it needs.
var errSetAside = errors.New("a row that the order needs is locked by another session")

// attempt is one transaction of a flush.
type attempt[T, R any] struct {
	*flushing[T, R]
	tx      *gorm.DB
	bulk    store.Bulk
	mode    mode
	calls   []*batch.Call[T, R] // to execute
	written map[string]bool     // in mode skipping: the orders that have a header, committed or not
}

// seal stops callers from withdrawing, and returns the calls that were not withdrawn.
func (a *attempt[T, R]) seal() []*batch.Call[T, R] {
	a.sealed = a.batch.Seal(a.calls)
	return a.sealed
}

// setAsideKnown sets aside the calls whose header is recorded as locked by another transaction, if the attempt would
// wait for it.
func (a *attempt[T, R]) setAsideKnown() {
	if a.mode != waiting || a.blocked.orders.empty() {
		return
	}
	a.setAside(func(item T) bool { return a.blocked.orders.has(a.orderNo(item)) })
}

// setAsideFound sets aside the calls whose header another transaction has written or locked. found are the headers that
// this transaction has read, or locked if it needs the lock.
func (a *attempt[T, R]) setAsideFound(found map[string]store.Header) {
	if a.mode != skipping {
		return
	}
	var blocked, free []string
	a.setAside(func(item T) bool {
		no := a.orderNo(item)
		if _, ok := found[no]; ok || !a.written[no] {
			free = append(free, no)
			return false
		}
		blocked = append(blocked, no)
		return true
	})
	a.blocked.orders.update(blocked, free)
}

// lockRows locks the stock rows of the calls' lines. It sets aside the calls that need a row that another transaction
// has locked, unless the attempt waits for that row.
func (a *attempt[T, R]) lockRows(lines func(T) []stock.Line) (counters, error) {
	needs := func(is func(sku string) bool) func(T) bool {
		return func(item T) bool {
			return slices.ContainsFunc(lines(item), func(l stock.Line) bool { return is(l.SKU) })
		}
	}
	if a.mode == waiting && !a.blocked.skus.empty() {
		a.setAside(needs(func(sku string) bool { return a.blocked.skus.has(sku) }))
	}
	rows := counters{}
	for _, c := range a.calls {
		rows.want(lines(c.Item))
	}
	if a.mode != skipping {
		return rows, rows.lock(a.tx)
	}
	blocked, err := rows.lockFree(a.tx)
	if err != nil {
		return nil, err
	}
	a.blocked.skus.update(blocked, rows.found())
	a.setAside(needs(func(sku string) bool { return slices.Contains(blocked, sku) }))
	return rows, nil
}

// setAside answers the calls for which is returns true with errSetAside, and removes them from the attempt.
func (a *attempt[T, R]) setAside(is func(T) bool) {
	kept := make([]*batch.Call[T, R], 0, len(a.calls))
	for _, c := range a.calls {
		if !is(c.Item) {
			kept = append(kept, c)
			continue
		}
		var none R
		c.Answer(none, errSetAside)
	}
	a.calls = kept
}
