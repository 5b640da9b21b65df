package mq

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/pkg/wait"
)

const (
	routeWait = 10 * time.Second        // for a new topic to be routed; milliseconds as a rule
	routePoll = 50 * time.Millisecond   // between two looks
	probeTime = 1500 * time.Millisecond // of a Probe whose context has no deadline
)

// groupTopics returns the topics that belong to a consumer group. Without its retry topic the first failed message of a
// new group would wait 40 s, because the client library looks for it rarely. Without its dead-letter topic a
// subscription to that topic would fail before the first dead letter.
func groupTopics(group string) []neededTopic {
	return []neededTopic{
		{Topic{Name: retryPrefix + group, Queues: 1}, true},
		{Topic{Name: deadLetterPrefix + group, Queues: 1}, true},
	}
}

// nameServer connects to the first name server that answers.
func (b *Bus) nameServer(ctx context.Context) (*wire, error) {
	addrs, err := b.resolver.lookup(ctx)
	if err != nil {
		return nil, err
	}
	var faults []error
	for _, a := range addrs {
		w, err := dialWire(ctx, a)
		if err == nil {
			return w, nil
		}
		faults = append(faults, err)
	}
	return nil, errors.Join(faults...)
}

// cluster connects to a name server and asks it for the brokers that take writes. The caller closes the connection.
func (b *Bus) cluster(ctx context.Context) (ns *wire, masters map[string]string, err error) {
	if ns, err = b.nameServer(ctx); err != nil {
		return nil, nil, err
	}
	if masters, err = ns.masters(ctx); err != nil {
		ns.close()
		return nil, nil, err
	}
	return ns, masters, nil
}

// neededTopic is a topic that must exist before anything starts.
type neededTopic struct {
	Topic
	ofStore bool // a consumer group's own, whose name ends with the store's identity
}

// topicName returns the broker's name of a needed topic in a store.
func (b *Bus) topicName(t neededTopic, store int64) string {
	if t.ofStore {
		return b.names.ofStore(t.Name, store)
	}
	return b.names.full(t.Name)
}

// ensureTopics creates the topics that a broker does not have, and returns how many there were.
func (b *Bus) ensureTopics(ctx context.Context, store int64) (created int, err error) {
	err = b.eachMaster(ctx, onBroker, func(w *wire) error {
		for _, t := range b.topics {
			name := b.topicName(t, store)
			queues, err := w.queues(ctx, name)
			if err != nil {
				return err
			}
			if queues > 0 {
				continue
			}
			if err := w.createTopic(ctx, name, t.Queues); err != nil {
				return err
			}
			created++
		}
		return nil
	})
	return created, err
}

// warnQueues reports a topic with another number of queues than its declaration. It does not change the topic: with
// another number the messages of a shard key would change their queue and lose their order.
func (b *Bus) warnQueues(ctx context.Context, t neededTopic, r route) {
	for _, queues := range r.queues {
		if _, ours := b.known[t.Name]; ours && queues != t.Queues {
			b.cfg.Log.WarnContext(ctx, "topic has another number of queues, left as it is",
				"topic", t.Name, "queues", queues, "wanted", t.Queues)
		}
	}
}

// awaitRoutes returns when the name server knows all topics on all brokers that take writes.
func (b *Bus) awaitRoutes(ctx context.Context, store int64) error {
	ns, masters, err := b.cluster(ctx)
	if err != nil {
		return err
	}
	defer ns.close()
	for _, t := range b.topics {
		r, err := waitRoute(ctx, ns, masters, b.topicName(t, store))
		if err != nil {
			return err
		}
		b.warnQueues(ctx, t, r)
	}
	return nil
}

// waitRoute returns a topic's route when the name server knows it on all masters.
func waitRoute(ctx context.Context, ns *wire, masters map[string]string, topic string) (route, error) {
	ctx, cancel := context.WithTimeout(ctx, routeWait)
	defer cancel()
	for {
		r, err := ns.route(ctx, topic)
		if err != nil {
			return r, err
		}
		missing := 0
		for broker := range masters {
			if r.queues[broker] == 0 {
				missing++
			}
		}
		if missing == 0 {
			return r, nil
		}
		if err := wait.Sleep(ctx, routePoll); err != nil {
			return r, fmt.Errorf("topic %s has no route on %d of %d brokers: %w", topic, missing, len(masters), err)
		}
	}
}

// Probe asks, over new connections, a name server for the route of every topic and each broker on these routes whether
// it has the topic. It is quick (milliseconds, 1.5 s at most), tells a stopped broker from a running one, and recovers
// by itself. Its error is [ErrUnavailable], also before Start has succeeded, while consumers are replaced and after
// Close.
func (b *Bus) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	if b.live.Load() == nil {
		return ErrUnavailable.NotExecuted().WithText("the message bus is not running")
	}
	store := b.store.Load()
	if store == 0 {
		return ErrUnavailable.NotExecuted().WithText("the message bus replaces its consumers")
	}
	if err := b.probe(ctx, store); err != nil {
		return ErrUnavailable.NotExecuted().Wrap(err)
	}
	return nil
}

func (b *Bus) probe(ctx context.Context, store int64) error {
	ns, err := b.nameServer(ctx)
	if err != nil {
		return err
	}
	defer ns.close()
	if len(b.topics) == 0 {
		_, err := ns.masters(ctx)
		return err
	}
	brokers := make(map[string][]string) // address to its topics
	for _, t := range b.topics {
		name := b.topicName(t, store)
		r, err := ns.route(ctx, name)
		if err != nil {
			return err
		}
		if len(r.masters) == 0 {
			return fmt.Errorf("topic %s has no route", name)
		}
		for _, addr := range r.masters {
			brokers[addr] = append(brokers[addr], name)
		}
	}
	for addr, topics := range brokers {
		if err := onBroker(ctx, addr, func(w *wire) error { return w.hasTopics(ctx, topics) }); err != nil {
			return err
		}
	}
	return nil
}

// hasTopics is an error unless the broker at the other end has all topics.
func (w *wire) hasTopics(ctx context.Context, topics []string) error {
	for _, name := range topics {
		queues, err := w.queues(ctx, name)
		if err != nil {
			return err
		}
		if queues == 0 {
			return fmt.Errorf("the broker does not have the topic %s", name)
		}
	}
	return nil
}
