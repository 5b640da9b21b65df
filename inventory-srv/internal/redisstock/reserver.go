package redisstock

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/batchfault"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/pkg/batch"
	"holdfast/pkg/fault"
	"holdfast/pkg/wait"
)

// Reserver counts in Redis, where one Lua script decides, and has MySQL follow.
//
// Idea:        decide where nothing can come in between and nothing is written to a disk.
// Statements:  EVALSHA of one script: read the order's key, compare the counters, subtract, append to a stream. No SQL,
// unless Redis has too little: then a batch of such orders locks the stock rows, allocates unallocated stock and
// reserves again. Only under these locks is an order refused.
// Goes wrong:  Redis loses data. Without the order's own key a repeat sells twice; a release that only Redis has
// returns with the next warm-up; a warm-up that writes a number undoes the sales since it was read; a missing counter
// looks sold out.
// Cost:        what Redis had answered and MySQL had not applied when Redis lost it. It is bounded, counted and
// refunded, never oversold.
// Choose it:   the database must not carry the peak load, and refunds now and then are cheaper than a faster database.
//
// Transcript of redis-lua, one CAP and two MUGs, as the servers log it (TestTranscripts):
//
//	Redis: EVALSHA reserve.lua 2 {stock}:meta {stock}:log {stock}:1: 1 <owner> 1 10000 1 ORDER-2 <hash> 0 CAP 1
//	      250;MUG 2 250 2 CAP 1 MUG 2
//	Redis:   HMGET {stock}:meta epoch open check_until r:<owner>
//	Redis:   XLEN {stock}:log
//	Redis:   HMGET {stock}:1:order:ORDER-2 s h l e
//	Redis:   HMGET {stock}:1:stock:CAP a closed
//	Redis:   HMGET {stock}:1:stock:MUG a closed
//	Redis:   HINCRBY {stock}:1:stock:CAP a -1
//	Redis:   HINCRBY {stock}:1:stock:MUG a -2
//	Redis:   HSET {stock}:meta r:<owner> 2
//	Redis:   XADD {stock}:log * o reserve n ORDER-2 h <hash> l CAP 1 250;MUG 2 250 m ""
//	Redis:   HSET {stock}:1:order:ORDER-2 s reserved h <hash> l CAP 1 250;MUG 2 250 e <id>
//	START TRANSACTION
//	SELECT fence, epoch, open, applied_id FROM redis_stream WHERE id = 1 FOR UPDATE
//	SELECT order_no, status, request_hash, strategy, sku, quantity, unit_price_cents
//	    FROM reservations FORCE INDEX (PRIMARY)
//	    WHERE order_no IN ('ORDER-2') ORDER BY order_no FOR UPDATE
//	INSERT INTO reservations (order_no, status, request_hash, strategy)
//	    VALUES ('ORDER-2','reserved','<hash>','redis-lua')
//	INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents)
//	    VALUES ('ORDER-2','CAP',1,250),('ORDER-2','MUG',2,250)
//	UPDATE stock_redis FORCE INDEX (PRIMARY)
//	    SET available = available + CASE sku WHEN 'CAP' THEN -1 WHEN 'MUG' THEN -2 END, reserved = reserved + CASE
//	      sku WHEN 'CAP' THEN 1 WHEN 'MUG' THEN 2 END, sold = sold + CASE sku WHEN 'CAP' THEN 0 WHEN 'MUG' THEN 0
//	      END, version = version + 1, updated_at = UTC_TIMESTAMP(6)
//	    WHERE sku IN ('CAP','MUG')
//	UPDATE redis_stream SET applied_id = '<id>' WHERE id = 1
//	COMMIT
//	Redis: EVALSHA followed.lua 2 {stock}:meta {stock}:log {stock}:1: 1 "" 0 <id> 900 ORDER-2 <id>
//	Redis:   HGET {stock}:meta epoch
//	Redis:   HGET {stock}:1:order:ORDER-2 e
//	Redis:   EXPIRE {stock}:1:order:ORDER-2 900
//	Redis:   XTRIM {stock}:log MINID <id>
type Reserver struct {
	*Counters
	catalogue *catalogue
	locked    *batch.Batcher[Reservation, Answer]
}

var _ stock.Reserver = (*Reserver)(nil)

const (
	// lockedBatch is how many lines one transaction with stock row locks decides, fewer than statement.KeyChunk.
	lockedBatch = 400
	// lockedTimeout is more than one lock wait.
	lockedTimeout = 4 * time.Second
	// busyPause is the longest pause before the retry of an order for which MySQL is too far behind.
	busyPause = 20 * time.Millisecond
)

// New makes the strategy. It sends nothing to Redis before Run or the first order.
func New(cfg Config) *Reserver {
	c := NewCounters(cfg)
	s := &Reserver{Counters: c, catalogue: &catalogue{ledger: c.ledger, known: map[string]stock.ReceiptLine{}}}
	s.locked = batch.New(s.decideUnderLock, batch.WithMaxWeight(lockedBatch), batch.WithTimeout(lockedTimeout), batch.WithPatience(answerGrace))
	return s
}

// Reserve implements stock.Reserver.
func (s *Reserver) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	if err := s.ledger.Check(r); err != nil {
		return stock.Receipt{}, err
	}
	r = r.Sorted()
	lines, err := s.catalogue.price(ctx, r)
	if err != nil {
		return stock.Receipt{}, err
	}
	reservation := Reservation{OrderNo: r.OrderNo, Hash: r.Hash(), Lines: lines}
	reserve := s.tryReserve
	for ctx.Err() == nil {
		a, err := reserve(ctx, reservation)
		if err != nil {
			return stock.Receipt{}, err
		}
		switch a.Verdict {
		case verdictOK:
			return s.catalogue.receipt(r, a.Lines), nil
		case verdictClosed:
			return stock.Receipt{}, stock.ErrClosed
		case verdictMismatch:
			return stock.Receipt{}, stock.ErrMismatch
		case verdictUnknown:
			if reservation.Checked, err = s.fetch(ctx, r.OrderNo); err != nil {
				return s.replay(ctx, r, err)
			}
		case verdictShort, verdictAway:
			reserve = s.reserveUnderLock
		case verdictBusy:
			_ = wait.Sleep(ctx, rand.N(busyPause))
			reserve = s.tryReserve
		}
	}
	return stock.Receipt{}, stock.ErrContended.Wrap(ctx.Err())
}

// replay answers for an order that another strategy has reserved: the ledger replays or refuses it.
func (s *Reserver) replay(ctx context.Context, r stock.Request, err error) (stock.Receipt, error) {
	if _, ok := errors.AsType[*stock.OtherStrategyError](err); !ok {
		return stock.Receipt{}, err
	}
	return s.ledger.Reserve(ctx, r, func(*gorm.DB, []stock.Line) error { return stock.ErrContended.Wrap(err) })
}

// reserveUnderLock reserves when Redis has too little. Its refusals are final.
func (s *Reserver) reserveUnderLock(ctx context.Context, r Reservation) (Answer, error) {
	a, err := s.locked.Do(ctx, r, len(r.Lines))
	if own := batchfault.Of(err); own != nil {
		return a, own
	}
	switch {
	case err != nil:
		return a, err
	case a.Verdict == verdictShort:
		return a, stock.OutOfStock(a.Short)
	case a.Verdict == verdictAway:
		return a, stock.ErrContended.WithText("the stock is being moved, retry")
	}
	return a, nil
}

// decideUnderLock decides the orders of a batch. The stock rows are locked, so that no delivery arrives and no layout
// changes while Redis decides.
func (s *Reserver) decideUnderLock(ctx context.Context, b *batch.Batch[Reservation, Answer]) {
	calls := b.Open(b.Calls()) // a caller that leaves before Redis decides was not served
	staged := map[*batch.Call[Reservation, Answer]]lockedAnswer{}
	var skus []string
	for _, c := range calls {
		for _, l := range c.Item.Lines {
			skus = append(skus, l.SKU)
		}
	}
	err := s.LockStock(ctx, skus, func(inRedis map[string]RedisRow, refused map[string]error) error {
		var asked []Reservation
		var of []*batch.Call[Reservation, Answer]
		for _, c := range b.Seal(calls) {
			if err := firstRefusal(c.Item.Lines, refused); err != nil {
				staged[c] = staged[c].next(Answer{}, err)
				continue
			}
			asked, of = append(asked, c.Item), append(of, c)
		}
		answers, errs := s.reserveLocked(ctx, inRedis, asked)
		for i, c := range of {
			for n := range answers[i].Short { // Redis does not have the lab mark
				answers[i].Short[n].Lab = inRedis[answers[i].Short[n].SKU].Lab
			}
			staged[c] = staged[c].next(answers[i], errs[i])
		}
		return nil
	})
	for _, c := range calls {
		a := staged[c]
		if err != nil {
			a = a.next(Answer{}, err)
		}
		if a.asked {
			c.Answer(a.answer, a.err)
		}
	}
}

// lockedAnswer is an order's answer so far. In the zero value Redis has not decided.
type lockedAnswer struct {
	answer Answer
	err    error
	asked  bool
}

// next returns the answer after another attempt. A failed attempt says nothing about earlier ones: an order that Redis
// has granted stays granted, and an unknown outcome stays unknown.
func (g lockedAnswer) next(answer Answer, err error) lockedAnswer {
	mayHold := g.asked && (g.err == nil && g.answer.Verdict == verdictOK || g.err != nil && fault.Ambiguous(g.err))
	if mayHold && (err != nil || answer.Verdict == verdictBusy) {
		return g
	}
	return lockedAnswer{answer, err, true}
}

func firstRefusal(lines []store.PricedLine, refused map[string]error) error {
	for _, l := range lines {
		if err := refused[l.SKU]; err != nil {
			return err
		}
	}
	return nil
}

// fetch loads an order into Redis that MySQL has, or reports that MySQL does not have it. It returns
// *stock.OtherStrategyError for an order of another strategy.
func (s *Reserver) fetch(ctx context.Context, orderNo string) (unknown bool, err error) {
	epoch := s.currentEpoch()
	known, ok, err := s.ledger.Known(ctx, orderNo)
	switch {
	case err != nil || !ok:
		return err == nil, err
	case known.Strategy != Name && known.Strategy != "":
		return false, &stock.OtherStrategyError{Strategy: known.Strategy}
	}
	return false, s.load(ctx, epoch, orderNo, known)
}

// Confirm implements stock.Reserver. It returns stock.ErrStockLost instead of stock.ErrUnknownOrder when Redis has ever
// lost an operation, because the order may have been reserved.
func (s *Reserver) Confirm(ctx context.Context, orderNo string) error {
	if err := stock.CheckOrderNo(orderNo); err != nil {
		return err
	}
	for ctx.Err() == nil {
		a, err := s.tryConfirm(ctx, orderNo)
		switch {
		case err != nil:
			return err
		case a.Verdict == verdictOK:
			return nil
		case a.Verdict == verdictClosed:
			return stock.ErrClosed
		case a.Verdict == verdictBusy:
			_ = wait.Sleep(ctx, rand.N(busyPause))
			continue
		}
		nobody, err := s.fetch(ctx, orderNo)
		if err != nil {
			return err
		}
		if nobody {
			return s.unknown(ctx)
		}
	}
	return stock.ErrContended.Wrap(ctx.Err())
}

func (s *Reserver) unknown(ctx context.Context) error {
	lost, err := s.HasLost(ctx)
	switch {
	case err != nil:
		return err
	case lost:
		return stock.ErrStockLost
	}
	return stock.ErrUnknownOrder
}

// Release implements stock.Reserver. When it returns, units that become unallocated stock are there.
func (s *Reserver) Release(ctx context.Context, orderNo string) error {
	if err := stock.CheckOrderNo(orderNo); err != nil {
		return err
	}
	checked := false
	for ctx.Err() == nil {
		a, err := s.tryRelease(ctx, orderNo, checked)
		switch {
		case err != nil:
			return err
		case a.Verdict == verdictOK && a.EntryID != "":
			return s.AwaitFollowed(ctx, a.Epoch, a.EntryID)
		case a.Verdict == verdictOK:
			return nil
		case a.Verdict == verdictConfirmed:
			return stock.ErrConfirmed
		case a.Verdict == verdictTombstone:
			return s.insertTombstone(ctx, orderNo)
		case a.Verdict == verdictBusy:
			_ = wait.Sleep(ctx, rand.N(busyPause))
			continue
		}
		if checked, err = s.fetch(ctx, orderNo); err != nil {
			return err
		}
	}
	return stock.ErrContended.Wrap(ctx.Err())
}

// insertTombstone writes MySQL's tombstone after that of Redis. In the other order Redis could grant a reserve in
// between.
func (s *Reserver) insertTombstone(ctx context.Context, orderNo string) error {
	return s.ledger.Release(ctx, orderNo, func(_ *gorm.DB, by string, _ []stock.Line) error { return &stock.OtherStrategyError{Strategy: by} })
}

// Batches implements strategy.Batcher.
func (s *Reserver) Batches() {}

// Close waits for the orders in flight.
func (s *Reserver) Close() error { return errors.Join(s.locked.Close(), s.Counters.Close()) }
