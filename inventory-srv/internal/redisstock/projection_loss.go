package redisstock

import (
	"context"
	"fmt"
	"slices"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/statement"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/database"
)

// Loss is a loss of answered operations by Redis.
type Loss struct{ Reason string }

// Answered is an operation that Redis has executed. MySQL may not have it yet.
type Answered struct {
	EntryID   string
	Operation Operation // EntryReserve, EntryConfirm or EntryRelease
	OrderNo   string
	Units     int64 // that it took; negative: returned
}

// Missing returns the operations, all of one epoch, that MySQL does not have. MySQL has an operation when the order's
// reservation shows it, or when its entry was refused.
func (p *Projection) Missing(ctx context.Context, epoch int64, answered []Answered) ([]Answered, error) {
	var missing []Answered
	for chunk := range slices.Chunk(answered, statement.KeyChunk) {
		orderNos := make([]string, len(chunk))
		for i, a := range chunk {
			orderNos[i] = a.OrderNo
		}
		// The primary key is forced: a scan would read all orders.
		headers, err := p.ledger.Headers(ctx, orderNos)
		if err != nil {
			return nil, err
		}
		absent := slices.DeleteFunc(slices.Clone(chunk), func(a Answered) bool { return a.shownBy(headers[a.OrderNo].Status) })
		refused, err := p.quarantined(ctx, epoch, absent)
		if err != nil {
			return nil, err
		}
		missing = append(missing, slices.DeleteFunc(absent, func(a Answered) bool { return refused[a.EntryID] })...)
	}
	return missing, nil
}

// shownBy reports whether the status results from the operation, or from one that followed it.
func (a Answered) shownBy(status stock.Status) bool {
	switch a.Operation {
	case EntryReserve:
		return status == stock.Reserved || status == stock.Confirmed || status == stock.Released
	case EntryConfirm:
		return status == stock.Confirmed
	case EntryRelease:
		return status == stock.Released
	}
	return false
}

// quarantined returns the ids of the refused entries among those of the operations.
func (p *Projection) quarantined(ctx context.Context, epoch int64, operations []Answered) (map[string]bool, error) {
	if len(operations) == 0 {
		return nil, nil
	}
	ids := make([]string, len(operations))
	for i, a := range operations {
		ids[i] = a.EntryID
	}
	var found []string
	err := p.db.WithContext(ctx).Raw("SELECT entry_id FROM redis_quarantine WHERE epoch = ? AND entry_id IN ?", epoch, ids).Scan(&found).Error
	if err != nil {
		return nil, database.Fault(fmt.Errorf("read the quarantine: %w", err))
	}
	refused := make(map[string]bool, len(found))
	for _, id := range found {
		refused[id] = true
	}
	return refused, nil
}

// lateReason is the reason of a loss that the writer did not notice before the epoch ended.
const lateReason = "operations that were answered are missing after the end of the epoch"

// RecordLoss records operations of an ended epoch that MySQL does not have, and returns the record of the loss. An
// operation that several replicas report counts once.
func (p *Projection) RecordLoss(ctx context.Context, epoch int64, lost []Answered) (stock.Loss, error) {
	var record stock.Loss
	err := database.InTx(ctx, p.db, func(tx *gorm.DB) error {
		err := tx.Exec("INSERT INTO redis_losses (epoch, reason) VALUES (?, ?) ON DUPLICATE KEY UPDATE epoch = epoch", epoch, lateReason).Error
		if err != nil {
			return fmt.Errorf("record the loss: %w", err)
		}
		// The row's lock serialises the reports of one loss, so that the last sum covers all.
		if err := tx.Raw("SELECT epoch FROM redis_losses WHERE epoch = ? FOR UPDATE", epoch).Scan(&record.Epoch).Error; err != nil {
			return fmt.Errorf("lock the loss: %w", err)
		}
		for chunk := range slices.Chunk(lost, statement.KeyChunk) {
			if err := nameLost(tx, epoch, chunk); err != nil {
				return err
			}
		}
		var sum struct{ Operations, Units int64 }
		err = tx.Raw("SELECT COUNT(*) AS operations, COALESCE(SUM(units), 0) AS units FROM redis_lost_operations WHERE epoch = ?", epoch).Scan(&sum).Error
		if err != nil {
			return fmt.Errorf("count what is lost: %w", err)
		}
		err = tx.Exec("UPDATE redis_losses SET operations = ?, units = ? WHERE epoch = ?", sum.Operations, sum.Units, epoch).Error
		if err != nil {
			return fmt.Errorf("write the loss: %w", err)
		}
		return tx.Raw("SELECT epoch, reason, operations, units, noticed_at FROM redis_losses WHERE epoch = ?", epoch).Scan(&record).Error
	})
	if err != nil {
		return stock.Loss{}, fmt.Errorf("record the loss of epoch %d: %w", epoch, err)
	}
	return record, nil
}

func nameLost(tx *gorm.DB, epoch int64, lost []Answered) error {
	insert := statement.New(len(lost), statement.HeaderSize, "INSERT INTO redis_lost_operations (epoch, order_no, operation, units) VALUES ")
	for i, a := range lost {
		insert.Comma(i).Add("(").Number(epoch).Add(",").Text(a.OrderNo).Add(",").Text(string(a.Operation)).Add(",").Number(a.Units).Add(")")
	}
	insert.Add(" ON DUPLICATE KEY UPDATE units = units")
	if _, err := insert.Exec(tx); err != nil {
		return fmt.Errorf("name what is lost: %w", err)
	}
	return nil
}

// Losses returns all losses, the newest last.
func (p *Projection) Losses(ctx context.Context) ([]stock.Loss, error) {
	db := p.db.WithContext(ctx)
	var all []stock.Loss
	err := db.Raw("SELECT epoch, reason, operations, units, noticed_at FROM redis_losses ORDER BY epoch").Scan(&all).Error
	if err != nil {
		return nil, database.Fault(fmt.Errorf("read the losses: %w", err))
	}
	var named []struct {
		Epoch   int64
		OrderNo string
	}
	err = db.Raw("SELECT epoch, order_no FROM redis_lost_operations WHERE operation = ? ORDER BY epoch, order_no", string(EntryReserve)).Scan(&named).Error
	if err != nil {
		return nil, database.Fault(fmt.Errorf("read what is lost: %w", err))
	}
	place := make(map[int64]int, len(all))
	for i, l := range all {
		place[l.Epoch] = i
	}
	for _, n := range named {
		// The next call returns a loss that was recorded between the two reads.
		if i, ok := place[n.Epoch]; ok {
			all[i].Orders = append(all[i].Orders, n.OrderNo)
		}
	}
	return all, nil
}

// HasLost reports whether Redis has ever lost an operation.
func (p *Projection) HasLost(ctx context.Context) (bool, error) {
	var found []int64
	if err := p.db.WithContext(ctx).Raw("SELECT epoch FROM redis_losses LIMIT 1").Scan(&found).Error; err != nil {
		return false, database.Fault(fmt.Errorf("look for losses: %w", err))
	}
	return len(found) > 0, nil
}
