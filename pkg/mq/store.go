package mq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"holdfast/pkg/wait"
)

// A broker that lost its disk comes back with an empty store at the old address. Consumers that survived it hold
// offsets of the old store. They would skip as many messages of the new one, and store these offsets in it for their
// successors.
//
// So a consumer group's name at the broker ends with the identity of the store: inventory-release-1732835447123. A
// store that is new has a new identity, its groups have new names, and a new group begins with the first message. What
// late consumers of the old store still write goes to names without readers. No process has to wait for another one.
// See docs/adr/016.
//
// The identity is the time, in milliseconds, at which the store's first message on the topic mq-store was stored. It is
// decided by the broker and thus the same for all processes, however many of them send such a message at the same time.
// Because the broker deletes messages after some days, the identity is also kept as the offset of a group without
// consumers.

const (
	storeTopic = "mq-store"
	storeGroup = "mq-store-identity"
)

const (
	storedPoll = 10 * time.Millisecond // between two questions for a message that was just sent
	storedWait = 3 * time.Second       // for the broker to index it; milliseconds as a rule
)

// storeSuffix ends the names of what belongs to one store.
func storeSuffix(store int64) string { return "-" + strconv.FormatInt(store, 10) }

// identify returns the identity of the brokers' store: with several brokers that of the youngest. A broker that has
// just started is unknown to its name server for up to ten seconds; the error then says that there is no broker.
func (b *Bus) identify(ctx context.Context, on visit) (int64, error) {
	var store int64
	err := b.eachMaster(ctx, on, func(w *wire) error {
		id, err := w.storeIdentity(ctx, b.names.full(storeTopic), b.names.full(storeGroup))
		store = max(store, id)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("identify the broker's store: %w", err)
	}
	return store, nil
}

// visit calls f with a connection to the broker at addr.
type visit func(ctx context.Context, addr string, f func(w *wire) error) error

// eachMaster calls f with a connection to each broker that takes writes.
func (b *Bus) eachMaster(ctx context.Context, on visit, f func(w *wire) error) error {
	ns, masters, err := b.cluster(ctx)
	if err != nil {
		return err
	}
	ns.close()
	if len(masters) == 0 {
		return errors.New("no broker has registered with the name server yet")
	}
	for _, addr := range masters {
		if err := on(ctx, addr, f); err != nil {
			return err
		}
	}
	return nil
}

// onBroker is a visit on a connection of its own.
func onBroker(ctx context.Context, addr string, f func(w *wire) error) error {
	w, err := dialWire(ctx, addr)
	if err != nil {
		return err
	}
	defer w.close()
	return f(w)
}

// storeIdentity returns the identity of the store of the broker at the other end, which it gives one if it has none.
// All of it happens on one connection, so in one life of the broker, so in one store.
func (w *wire) storeIdentity(ctx context.Context, topic, group string) (int64, error) {
	queues, err := w.queues(ctx, topic)
	if err != nil {
		return 0, err
	}
	if queues == 0 {
		if err := w.createTopic(ctx, topic, 1); err != nil {
			return 0, err
		}
	}
	last, err := w.number(ctx, requestMaxOffset, queueFields(topic), "offset")
	if err != nil {
		return 0, fmt.Errorf("ask for the last offset of %s: %w", topic, err)
	}
	kept, err := w.groupOffset(ctx, topic, group)
	if err != nil {
		return 0, err
	}
	if last > 0 && kept > 0 { // a kept offset without any message is left over from a store that lost its messages only
		return kept, nil
	}
	id, err := w.firstStored(ctx, topic)
	if err != nil {
		return 0, err
	}
	return id, w.keepOffset(ctx, topic, group, id)
}

// firstStored returns when the first message of topic was stored, in milliseconds. It sends one to an empty topic.
func (w *wire) firstStored(ctx context.Context, topic string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, storedWait)
	defer cancel()
	first, err := w.number(ctx, requestMinOffset, queueFields(topic), "offset")
	if err != nil {
		return 0, fmt.Errorf("ask for the first offset of %s: %w", topic, err)
	}
	last, err := w.number(ctx, requestMaxOffset, queueFields(topic), "offset")
	if err != nil {
		return 0, fmt.Errorf("ask for the last offset of %s: %w", topic, err)
	}
	if first >= last {
		if err := w.sendMark(ctx, topic); err != nil {
			return 0, err
		}
	}
	for {
		id, err := w.number(ctx, requestEarliestTime, queueFields(topic), "timestamp")
		if err != nil {
			return 0, fmt.Errorf("ask when the first message of %s was stored: %w", topic, err)
		}
		if id > 0 {
			return id, nil
		}
		if err := wait.Sleep(ctx, storedPoll); err != nil {
			return 0, fmt.Errorf("the broker does not show the message on %s: %w", topic, err)
		}
	}
}

// sendMark sends a message whose only use is the time at which it is stored.
func (w *wire) sendMark(ctx context.Context, topic string) error {
	fields := queueFields(topic)
	fields["producerGroup"], fields["defaultTopic"], fields["defaultTopicQueueNums"] = producerGroup, "TBW102", "1"
	fields["sysFlag"], fields["flag"], fields["reconsumeTimes"] = "0", "0", "0"
	fields["bornTimestamp"] = strconv.FormatInt(time.Now().UnixMilli(), 10)
	fields["properties"], fields["unitMode"], fields["batch"] = "KEYS\x01"+storeTopic+"\x02", "false", "false"
	if _, err := w.callBody(ctx, requestSend, fields, []byte("{}")); err != nil {
		return fmt.Errorf("send to %s: %w", topic, err)
	}
	return nil
}

// keepOffset stores an offset of a group that has no consumers. The broker keeps offsets only of groups that it knows.
func (w *wire) keepOffset(ctx context.Context, topic, group string, n int64) error {
	config, err := json.Marshal(map[string]string{"groupName": group})
	if err != nil {
		return err
	}
	if _, err := w.callBody(ctx, requestCreateGroup, nil, config); err != nil {
		return fmt.Errorf("create group %s: %w", group, err)
	}
	fields := queueFields(topic)
	fields["consumerGroup"], fields["commitOffset"] = group, strconv.FormatInt(n, 10)
	if _, err := w.call(ctx, requestUpdateOffset, fields); err != nil {
		return fmt.Errorf("keep the offset of %s: %w", group, err)
	}
	return nil
}

// groupOffset returns a group's offset in queue 0, 0 without one.
func (w *wire) groupOffset(ctx context.Context, topic, group string) (int64, error) {
	fields := queueFields(topic)
	fields["consumerGroup"] = group
	n, err := w.number(ctx, requestQueryOffset, fields, "offset")
	if isCode(err, codeNoOffset) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("ask for the offset of %s: %w", group, err)
	}
	return n, nil
}

func queueFields(topic string) map[string]string {
	return map[string]string{"topic": topic, "queueId": "0"}
}
