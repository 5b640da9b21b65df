package mq

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

const (
	requestPull = 11

	// resentSuffix ends the name of a group that has no consumers. Its offset in the dead-letter topic of a consumer
	// group says how many of the dead letters were sent again.
	resentSuffix = "-resent"

	pullFilter = 4  // sysFlag of a pull: the request has a filter; it does not wait and commits nothing
	pullPage   = 32 // messages of one pull

	codeNothingNew  = 19 // answers to a pull
	codeOffsetMoved = 21
)

// DeadLetter is a message that a consumer group gave up.
type DeadLetter struct {
	Message           // Topic is the one it was sent to
	Group   string    // that gave it up
	Offset  int64     // in the group's dead-letter topic; counts up on each broker
	DeadAt  time.Time // by the broker's clock
}

// DeadLetters returns up to limit dead letters of a consumer group that were not sent again, the oldest of each
// broker first. It reads without consuming, so that a later call returns them again. It finds those of the broker's
// present store, for as long as the broker keeps them. The error is [ErrUnavailable].
func (b *Bus) DeadLetters(ctx context.Context, group string, limit int) ([]DeadLetter, error) {
	var found []DeadLetter
	err := b.deadLetters(ctx, group, func(w *wire, topic, resent string) error {
		page, err := b.unsentAgain(ctx, w, topic, resent, limit-len(found))
		for i := range page {
			page[i].Group = group
		}
		found = append(found, page...)
		return err
	})
	return found, err
}

// ResendDeadLetters sends up to limit dead letters of a consumer group to the topic that they came from, the oldest
// of each broker first, and returns how many. All consumer groups of that topic receive them. A failure ends the
// call; the letters that were sent by then are not sent by the next one. After a crash some may be sent twice.
func (b *Bus) ResendDeadLetters(ctx context.Context, group string, limit int) (sent int, err error) {
	err = b.deadLetters(ctx, group, func(w *wire, topic, resent string) error {
		page, err := b.unsentAgain(ctx, w, topic, resent, limit-sent)
		if err != nil || len(page) == 0 {
			return err
		}
		next, failed := page[0].Offset, error(nil)
		for _, l := range page {
			delete(l.Headers, HeaderOriginTopic)
			if failed = b.Producer().Send(ctx, l.Message); failed != nil {
				failed = fmt.Errorf("send dead letter %s of %s again: %w", l.ID, group, failed)
				break
			}
			next = l.Offset + 1
			sent++
		}
		if err := w.keepOffset(ctx, topic, resent, next); err != nil {
			return err
		}
		return failed
	})
	return sent, err
}

// deadLetters calls f for each broker with the names of the group's dead-letter topic and of the group that holds the
// mark.
func (b *Bus) deadLetters(ctx context.Context, group string, f func(w *wire, topic, resent string) error) error {
	store := b.store.Load()
	if store == 0 {
		return ErrUnavailable.NotExecuted().WithText("the message bus is not running")
	}
	topic, resent := b.names.ofStore(DeadLetterTopic(group), store), b.names.ofStore(group+resentSuffix, store)
	err := b.eachMaster(ctx, onBroker, func(w *wire) error {
		queues, err := w.queues(ctx, topic)
		if err != nil || queues == 0 { // the group has never been there
			return err
		}
		return f(w, topic, resent)
	})
	if err != nil {
		return ErrUnavailable.Wrap(fmt.Errorf("dead letters of %s: %w", group, err))
	}
	return nil
}

// unsentAgain reads dead letters from the mark on.
func (b *Bus) unsentAgain(ctx context.Context, w *wire, topic, resent string, limit int) ([]DeadLetter, error) {
	next, err := w.groupOffset(ctx, topic, resent)
	if err != nil {
		return nil, err
	}
	first, err := w.number(ctx, requestMinOffset, queueFields(topic), "offset")
	if err != nil {
		return nil, fmt.Errorf("ask for the first offset of %s: %w", topic, err)
	}
	last, err := w.number(ctx, requestMaxOffset, queueFields(topic), "offset")
	if err != nil {
		return nil, fmt.Errorf("ask for the last offset of %s: %w", topic, err)
	}
	var found []DeadLetter
	for next = max(next, first); next < last && len(found) < limit; {
		messages, err := w.pull(ctx, topic, resent, next, min(pullPage, limit-len(found)))
		if err != nil {
			return found, err
		}
		if len(messages) == 0 {
			break
		}
		for _, msg := range messages {
			m := b.decode(msg)
			m.Topic = m.Headers[HeaderOriginTopic]
			found = append(found, DeadLetter{Message: m, Offset: msg.QueueOffset, DeadAt: time.UnixMilli(msg.StoreTimestamp)})
			next = msg.QueueOffset + 1
		}
	}
	return found, nil
}

// pull reads messages of queue 0 from an offset on. Nothing is consumed.
func (w *wire) pull(ctx context.Context, topic, group string, from int64, count int) ([]*primitive.MessageExt, error) {
	config, err := json.Marshal(map[string]string{"groupName": group})
	if err != nil {
		return nil, err
	}
	// A broker answers no group that it does not know.
	if _, err := w.callBody(ctx, requestCreateGroup, nil, config); err != nil {
		return nil, fmt.Errorf("create group %s: %w", group, err)
	}
	fields := queueFields(topic)
	fields["consumerGroup"], fields["queueOffset"], fields["maxMsgNums"] = group, strconv.FormatInt(from, 10), strconv.Itoa(count)
	fields["sysFlag"], fields["commitOffset"], fields["suspendTimeoutMillis"] = strconv.Itoa(pullFilter), "0", "0"
	fields["subscription"], fields["subVersion"], fields["expressionType"] = "*", "0", "TAG"
	body, err := w.call(ctx, requestPull, fields)
	if isCode(err, codeNothingNew) || isCode(err, codeOffsetMoved) { // the broker has deleted them meanwhile
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pull from %s: %w", topic, err)
	}
	return primitive.DecodeMessage(body), nil
}
