package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"
	"gorm.io/gorm"

	"holdfast/pkg/database"
	"holdfast/pkg/outbox"
)

// Answers keeps what orders that came by message were answered. An order is answered once, however many deliveries of
// its message there are and whatever each of them finds.
type Answers struct {
	db     *gorm.DB
	outbox *outbox.Table
}

// Answers returns the answers on the store's connections.
func (s *Store) Answers() *Answers { return s.AnswersOn(s.db) }

// AnswersOn returns the answers on the pool of db.
func (s *Store) AnswersOn(db *gorm.DB) *Answers { return &Answers{db: db, outbox: s.outbox.On(db)} }

// Answer is the outcome of an order, as far as it matters for the rule.
type Answer struct {
	OrderNo string
	Refused bool // false: it has a receipt
}

// Known returns, of those of the orders that were answered, whether the answer is a refusal.
func (a *Answers) Known(ctx context.Context, orderNos []string) (refused map[string]bool, err error) {
	return known(a.db.WithContext(ctx), orderNos, "")
}

// known returns the answers that other deliveries wrote.
func known(tx *gorm.DB, orderNos []string, delivery string) (map[string]bool, error) {
	var rows []struct {
		OrderNo string
		Refused bool
	}
	err := tx.Raw("SELECT order_no, refused FROM reserve_answers WHERE order_no IN ? AND delivery <> ?", orderNos, delivery).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read the answers to orders: %w", database.Fault(err))
	}
	refused := make(map[string]bool, len(rows))
	for _, r := range rows {
		refused[r.OrderNo] = r.Refused
	}
	return refused, nil
}

// Record writes the answers of one delivery, and the messages that events makes of those that count, in one
// transaction. It returns the others: another delivery has answered these orders, and the map has whether its answer is
// a refusal. The insert waits for a delivery that is just answering the same order. Errors are those of database.InTx,
// and then nothing is known; repeating the call changes no answer.
func (a *Answers) Record(ctx context.Context, answers []Answer, events func(orderNos []string) []outbox.Event) (earlier map[string]bool, err error) {
	if len(answers) == 0 {
		return nil, nil
	}
	// Deliveries with the same orders lock the rows in one order.
	answers = slices.SortedFunc(slices.Values(answers), func(a, b Answer) int { return strings.Compare(a.OrderNo, b.OrderNo) })
	delivery := ulid.Make().String()
	numbers := make([]string, len(answers))
	for i, answer := range answers {
		numbers[i] = answer.OrderNo
	}
	err = database.InTx(ctx, a.db, func(tx *gorm.DB) error {
		if err := insertAnswers(tx, answers, delivery); err != nil {
			return err
		}
		if earlier, err = known(tx, numbers, delivery); err != nil {
			return err
		}
		ours := slices.DeleteFunc(slices.Clone(numbers), func(no string) bool { _, theirs := earlier[no]; return theirs })
		if len(ours) == 0 {
			return nil
		}
		return outbox.Write(tx, events(ours)...)
	}, database.SettleBy("SELECT order_no FROM reserve_answers WHERE order_no = ? AND delivery = ? FOR UPDATE", numbers[0], delivery))
	if err != nil {
		return nil, fmt.Errorf("record the answers to orders: %w", err)
	}
	a.outbox.Kick()
	return earlier, nil
}

func insertAnswers(tx *gorm.DB, answers []Answer, delivery string) error {
	args := make([]any, 0, 3*len(answers))
	for _, answer := range answers {
		args = append(args, answer.OrderNo, delivery, answer.Refused)
	}
	values := strings.TrimSuffix(strings.Repeat("(?, ?, ?, UTC_TIMESTAMP(6)), ", len(answers)), ", ")
	err := tx.Exec("INSERT INTO reserve_answers (order_no, delivery, refused, answered_at) VALUES "+values+
		" ON DUPLICATE KEY UPDATE order_no = order_no", args...).Error
	if err != nil {
		return fmt.Errorf("insert answers: %w", err)
	}
	return nil
}
