package strategy

import (
	"context"
	"time"

	"github.com/oklog/ulid/v2"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// archiveMargin is by how much a reservation is older than the reserve horizon before it is archived. It is longer than
// the clocks of two machines differ and than a reserve may be on its way inside the service.
const archiveMargin = 24 * time.Hour

// pastHorizon reports whether an order has been made longer ago than the reserve horizon, by the time in its number.
// Its tombstone, if it had one, may have been deleted since: only its number still refuses a late reserve. An order
// whose number is no ULID has no age.
func (s *Set) pastHorizon(orderNo string) bool {
	if s.horizon == 0 {
		return false
	}
	id, err := ulid.ParseStrict(orderNo)
	return err == nil && time.Since(id.Timestamp()) > s.horizon
}

// confirmUnknown answers a Confirm of an order that is past the horizon and not in the ledger.
func (s *Set) confirmUnknown(ctx context.Context, orderNo string) error {
	archived, err := s.store.InArchive(ctx, orderNo)
	if err == nil && !archived {
		err = stock.ErrUnknownOrder
	}
	return err
}

// releaseUnknown answers a Release of such an order. It writes no tombstone: no reserve of the order succeeds any more.
func (s *Set) releaseUnknown(ctx context.Context, orderNo string) error {
	archived, err := s.store.InArchive(ctx, orderNo)
	if err == nil && archived {
		err = stock.ErrConfirmed
	}
	return err
}

// Archive takes the next step of the retention up to an order number, see [store.Store.Archive]. stock.ErrTooYoung
// unless the number is a day older than the reserve horizon.
func (s *Set) Archive(ctx context.Context, to string) (store.ArchiveStep, error) {
	return s.store.Archive(ctx, to, s.horizon+archiveMargin)
}
