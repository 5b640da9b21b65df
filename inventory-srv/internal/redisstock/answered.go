package redisstock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"holdfast/inventory-srv/internal/statement"
)

// maxAnswered is how many operations a replica remembers, in multiples of Config.MaxWaiting. Reservations reach
// MaxWaiting at most while MySQL is behind; the rest is for confirms, releases and operations that the replica has not
// looked up yet. Beyond it the verdict is busy. Operations in flight are not counted.
const maxAnswered = 4

// answered are the operations that Redis answered to this replica and that MySQL may not have. Counters.mu guards it.
type answered struct {
	list     []remembered
	settling int // the operations that settle has taken from the list
}

// remembered is an operation that was answered in an epoch.
type remembered struct {
	Answered
	epoch int64
}

// remembers returns how many operations the replica remembers.
func (c *Counters) remembers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.answered.list) + c.answered.settling
}

// full reports whether the replica can remember no more operations.
func (c *Counters) full() bool {
	return c.remembers() >= maxAnswered*c.cfg.MaxWaiting
}

// receive records a call's answer: its number, and the operation until MySQL has it. It does so for answers of an epoch
// that has ended too.
func (c *Counters) receive(epoch int64, one call, fields []string) error {
	if one.operation == "" || fields[0] != verdictOK || fields[1] == "0" {
		return nil
	}
	number, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return fmt.Errorf("the number of an answer: %w", err)
	}
	r := remembered{epoch: epoch, Answered: Answered{EntryID: fields[2], Operation: one.operation, OrderNo: one.orderNo}}
	if one.orderNo != "" {
		if r.Units, err = units(one.operation, fields[3]); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.received[epoch] = max(c.received[epoch], number)
	if one.orderNo != "" {
		c.answered.list = append(c.answered.list, r)
	}
	return nil
}

// units returns how many units an operation takes. The number of a release is negative.
func units(operation Operation, lines string) (int64, error) {
	parsed, err := ParseLines(lines)
	if err != nil {
		return 0, err
	}
	sum := int64(0)
	for _, l := range parsed {
		sum += l.Quantity
	}
	switch operation {
	case EntryReserve:
		return sum, nil
	case EntryRelease:
		return -sum, nil
	}
	return 0, nil
}

// settle looks in MySQL for the operations that were answered, and removes those that MySQL has. If MySQL does not have
// an operation of an epoch that has ended, the operation is lost and is recorded. If the epoch goes on and MySQL has
// applied the stream beyond the entry, Redis has lost it, and settle shuts the epoch. One goroutine calls it.
func (c *Counters) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	p, err := c.Position(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	list := c.answered.list
	c.answered.list, c.answered.settling = nil, len(list)
	c.mu.Unlock()

	left, err := c.settled(ctx, p, list)

	c.mu.Lock()
	defer c.mu.Unlock()
	c.answered.list, c.answered.settling = append(left, c.answered.list...), 0
	return err
}

// settled returns the part of the list that is still open.
func (c *Counters) settled(ctx context.Context, p Position, list []remembered) (left []remembered, err error) {
	due := map[int64][]Answered{}
	for _, r := range list {
		// An epoch may have begun since the position was read.
		if r.epoch > p.Epoch || r.epoch == p.Epoch && before(p.AppliedID, r.EntryID) {
			left = append(left, r)
			continue
		}
		due[r.epoch] = append(due[r.epoch], r.Answered)
	}
	var faults []error
	for epoch, operations := range due {
		for chunk := range slices.Chunk(operations, statement.KeyChunk) {
			missing, err := c.Missing(ctx, epoch, chunk)
			switch {
			case err != nil:
				missing = chunk
			case len(missing) == 0:
			case epoch == p.Epoch:
				err = c.shutEpoch(ctx, epoch, missing[0])
			default:
				if err = c.recordLoss(ctx, epoch, missing); err == nil {
					missing = nil
				}
			}
			faults = append(faults, err)
			for _, a := range missing {
				left = append(left, remembered{Answered: a, epoch: epoch})
			}
		}
	}
	return left, errors.Join(faults...)
}

// shutEpoch ends an epoch in which an answered operation is missing.
func (c *Counters) shutEpoch(ctx context.Context, epoch int64, missing Answered) error {
	c.cfg.Log.ErrorContext(ctx, "an operation that was answered is missing in MySQL",
		"epoch", epoch, "operation", missing.Operation, "order_no", missing.OrderNo, "entry", missing.EntryID)
	why := fmt.Sprintf("entry %s of %s was answered and is not here", missing.EntryID, missing.OrderNo)
	_, err := c.do(ctx, call{script: c.scripts.shut, epoch: epoch, args: []any{why}})
	if errors.Is(err, errShut) {
		return nil
	}
	return err
}

// recordLoss records operations that were lost with their epoch.
func (c *Counters) recordLoss(ctx context.Context, epoch int64, lost []Answered) error {
	loss, err := c.RecordLoss(ctx, epoch, lost)
	if err != nil {
		return err
	}
	c.cfg.Log.ErrorContext(ctx, "operations lost by Redis", "epoch", epoch, "reason", loss.Reason, "reported", len(lost),
		"operations", loss.Operations, "units", loss.Units, "noticed_at", loss.NoticedAt.Format(time.RFC3339))
	return nil
}
