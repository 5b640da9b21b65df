package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"holdfast/inventory-srv/internal/reserve"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/crash"
	"holdfast/pkg/fault"
	"holdfast/pkg/mq"
	"holdfast/pkg/outbox"
	"holdfast/pkg/wait"
)

const (
	// reserveTime is the part of a delivery's time (10 s) in which its orders are reserved. The rest is for the answers.
	reserveTime = 6 * time.Second

	firstPause = 40 * time.Millisecond // the limit of the pause before orders are reserved again, doubling
	lastPause  = 640 * time.Millisecond

	// maxLines bounds the lines of one answer, with titles of up to 200 characters each: a message has 4 MB at most.
	maxLines = 1000

	maxKey = 64 // bytes of a shard key in the outbox
)

// The outcomes of an order in a delivery, as they are counted.
const (
	receipt   = "receipt"
	refusal   = "refusal"
	retried   = "retried"
	repeated  = "repeated"
	givenBack = "given_back"
)

// Answers keeps what orders were answered; store.Answers does.
type Answers interface {
	Known(ctx context.Context, orderNos []string) (refused map[string]bool, err error)
	Record(ctx context.Context, answers []store.Answer, events func(orderNos []string) []outbox.Event) (earlier map[string]bool, err error)
}

var _ Answers = (*store.Answers)(nil)

// Stock is what reserves and releases; strategy.Set is one.
type Stock interface {
	reserve.Stock
	Ender
}

// Reserves handles stock-reserve: it reserves the orders of a message and answers each of them once, through the
// outbox.
//
// A message may be delivered again, also while an earlier delivery is at work, and the two may find different stock.
// The first answer that is written counts. A delivery that took units for an order whose answer is a refusal gives them
// back. It may die before it has done so; the broker then delivers its message again. Therefore a delivery also
// releases the orders that it finds refused, which writes their tombstones: no delivery can reserve them any more.
type Reserves struct {
	ReservesConfig
	orders   reserve.Orders
	outcomes *prometheus.CounterVec
}

// ReservesConfig is what Reserves are made of.
type ReservesConfig struct {
	Stock    Stock
	Answers  Answers
	Log      *slog.Logger
	Registry prometheus.Registerer // nil: nothing is registered
	Time     time.Duration         // for reserving the orders of one delivery; default 6 s
}

// NewReserves returns the handler of stock-reserve.
func NewReserves(cfg ReservesConfig) *Reserves {
	if cfg.Time == 0 {
		cfg.Time = reserveTime
	}
	return &Reserves{
		ReservesConfig: cfg, orders: reserve.Orders{Stock: cfg.Stock, Log: cfg.Log},
		outcomes: promauto.With(cfg.Registry).NewCounterVec(prometheus.CounterOpts{
			Name: "stock_reserve_messages_total",
			Help: "Orders in deliveries of stock-reserve, by outcome: receipt, refusal, retried, repeated (it was answered before), given_back (units of a refused order).",
		}, []string{"outcome"}),
	}
}

// Subscription joins the handler to its topic.
func (r *Reserves) Subscription() mq.Subscription {
	return mq.Subscription{Group: inventoryapi.GroupReserve, Topic: orderapi.TopicStockReserve, Handler: r.StockReserve}
}

// StockReserve handles one delivery. A failure that a retry may mend is no answer: the order has none, and the message
// comes again.
func (r *Reserves) StockReserve(ctx context.Context, m mq.Message) error {
	ctx = withRequestID(ctx, m)
	command, err := readReserve(m)
	if err != nil {
		return mq.Discard(err)
	}
	orders := command.Orders
	refused, err := r.Answers.Known(ctx, numbersOf(orders))
	if err != nil {
		return err
	}
	fresh := slices.DeleteFunc(slices.Clone(orders), func(o inventoryapi.ReserveOrder) bool { _, known := refused[o.OrderNo]; return known })
	var release []string
	for no, was := range refused {
		r.outcomes.WithLabelValues(repeated).Inc()
		if was {
			release = append(release, no)
		}
	}
	template := answerTo(command)
	results, maybe, open := r.reserve(ctx, fresh)
	earlier, err := r.answer(ctx, m, template, results)
	if err != nil {
		return err // the receipts may be without an answer: the next delivery gets them again
	}
	if len(results) > 0 {
		crash.At(crash.InventoryAnswered)
	}
	for _, result := range results {
		no := result.OrderNo
		was, theirs := earlier[no]
		if !theirs {
			was = result.Problem != nil
		}
		// A refused order may hold units: this delivery has reserved them, or an attempt without an answer still may.
		if was && (result.Receipt != nil || maybe[no] || m.Attempt > 0) {
			release = append(release, no)
		}
	}
	return errors.Join(open, r.giveBack(ctx, release))
}

// readReserve decodes a message.
func readReserve(m mq.Message) (command orderapi.StockReserve, err error) {
	if err := json.Unmarshal(m.Body, &command); err != nil {
		return command, fmt.Errorf("read a stock reserve: %w", err)
	}
	if len(command.Orders) == 0 {
		return command, errors.New("read a stock reserve: it names no order")
	}
	for _, o := range command.Orders {
		if err := stock.CheckOrderNo(o.OrderNo); err != nil {
			return command, fmt.Errorf("read a stock reserve of %q: %w", o.OrderNo, err)
		}
	}
	return command, nil
}

// answerTo is an answer to a command without its results. Call it before the orders are reserved.
func answerTo(command orderapi.StockReserve) inventoryapi.StockReserved {
	answer := inventoryapi.StockReserved{RequestIDs: command.RequestIDs}
	if !slices.ContainsFunc(command.Orders, func(o inventoryapi.ReserveOrder) bool { return o.Strategy != "" }) {
		answer.Looked = time.Now().UTC()
	}
	return answer
}

func numbersOf(orders []inventoryapi.ReserveOrder) []string {
	numbers := make([]string, len(orders))
	for i, o := range orders {
		numbers[i] = o.OrderNo
	}
	return numbers
}

// reserve reserves the orders and returns the outcomes that are answers. Orders that met a failure which a retry may
// mend are reserved again until the time is up; open is then the error of those that are left. maybe has the orders of
// which an attempt may have been executed, or may still be.
func (r *Reserves) reserve(ctx context.Context, orders []inventoryapi.ReserveOrder) (answers []inventoryapi.ReserveResult, maybe map[string]bool, open error) {
	ctx, cancel := context.WithTimeout(ctx, r.Time)
	defer cancel()
	backoff := wait.Backoff{First: firstPause, Max: lastPause}
	maybe = map[string]bool{}
	for try := 1; len(orders) > 0; try++ {
		var again []inventoryapi.ReserveOrder
		var failure error
		for i, result := range r.orders.Reserve(ctx, orders) {
			if result.Problem == nil || !passing(result.Problem.Fault()) {
				answers = append(answers, result)
				continue
			}
			again, failure = append(again, orders[i]), result.Problem.Fault()
			maybe[result.OrderNo] = maybe[result.OrderNo] || result.Problem.Ambiguous
		}
		orders = again
		if len(orders) > 0 && backoff.Sleep(ctx, try) != nil {
			r.outcomes.WithLabelValues(retried).Add(float64(len(orders)))
			return answers, maybe, fmt.Errorf("reserve %d orders, the first %s: %w", len(orders), orders[0].OrderNo, failure)
		}
	}
	return answers, maybe, nil
}

// passing reports whether a retry may be answered otherwise, or the failed operation may have been executed.
func passing(err error) bool {
	switch fault.KindOf(err) {
	case fault.Contended, fault.Unavailable, fault.Timeout, fault.Internal, fault.Limited:
		return true
	}
	return fault.Ambiguous(err)
}

// answer writes the outcomes into the outbox. It returns the orders that another delivery has answered meanwhile, and
// whether with a refusal.
func (r *Reserves) answer(
	ctx context.Context, m mq.Message, template inventoryapi.StockReserved, results []inventoryapi.ReserveResult,
) (earlier map[string]bool, err error) {
	answers := make([]store.Answer, len(results))
	byNumber := make(map[string]inventoryapi.ReserveResult, len(results))
	for i, result := range results {
		answers[i] = store.Answer{OrderNo: result.OrderNo, Refused: result.Problem != nil}
		byNumber[result.OrderNo] = result
	}
	earlier, err = r.Answers.Record(ctx, answers, func(orderNos []string) []outbox.Event { return answersOf(m, template, orderNos, byNumber) })
	if err != nil {
		return nil, err
	}
	for _, a := range answers {
		_, theirs := earlier[a.OrderNo]
		switch {
		case theirs:
			r.outcomes.WithLabelValues(repeated).Inc()
		case a.Refused:
			r.outcomes.WithLabelValues(refusal).Inc()
		default:
			r.outcomes.WithLabelValues(receipt).Inc()
		}
	}
	return earlier, nil
}

// answersOf are the messages with the orders' outcomes. Their key is that of the message which is answered.
func answersOf(m mq.Message, template inventoryapi.StockReserved, orderNos []string, results map[string]inventoryapi.ReserveResult) []outbox.Event {
	key := m.Key
	if key == "" || len(key) > maxKey {
		key = orderNos[0]
	}
	var events []outbox.Event
	body := inventoryapi.StockReserved{Looked: template.Looked}
	lines := 0
	flush := func() {
		if len(body.Results) > 0 {
			events = append(events, outbox.Event{
				ID: body.Results[0].OrderNo + ":reserved", Topic: inventoryapi.TopicStockReserved, Key: key, Body: body,
			})
		}
		body, lines = inventoryapi.StockReserved{Looked: template.Looked}, 0
	}
	for _, no := range orderNos {
		size := 1
		if r := results[no].Receipt; r != nil {
			size = len(r.Lines)
		}
		if lines+size > maxLines {
			flush()
		}
		body.Results = append(body.Results, results[no])
		if id := template.RequestIDs[no]; id != "" {
			if body.RequestIDs == nil {
				body.RequestIDs = map[string]string{}
			}
			body.RequestIDs[no] = id
		}
		lines += size
	}
	flush()
	return events
}

// giveBack releases orders that were refused, or writes their tombstones.
func (r *Reserves) giveBack(ctx context.Context, orderNos []string) error {
	var failures []error
	for _, no := range orderNos {
		if err := r.Stock.Release(ctx, no); err != nil {
			failures = append(failures, fmt.Errorf("give back the refused order %s: %w", no, err))
			continue
		}
		r.outcomes.WithLabelValues(givenBack).Inc()
	}
	return errors.Join(failures...)
}
