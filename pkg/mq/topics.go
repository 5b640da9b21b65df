package mq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	routeWait = 10 * time.Second        // for a new topic to be routed; milliseconds as a rule
	routePoll = 50 * time.Millisecond   // between two looks
	probeTime = 1500 * time.Millisecond // of a Probe whose context has no deadline
)

// groupTopics returns the topics that belong to a consumer group. Without its retry topic the first failed message of a
// new group would wait 40 s, because the client library looks for it only now and then; and without its dead-letter
// topic nobody could subscribe to that before the first dead letter.
func groupTopics(group string) []Topic {
	return []Topic{{Name: retryPrefix + group, Queues: 1}, {Name: deadLetterPrefix + group, Queues: 1}}
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

// ensureTopics creates the topics that are missing and returns when each has a route. A broker that has just started is
// unknown to its name server for up to ten seconds; the error then says that there is no broker.
func (b *Bus) ensureTopics(ctx context.Context) error {
	ns, masters, err := b.cluster(ctx)
	if err != nil {
		return err
	}
	defer ns.close()
	if len(masters) == 0 {
		return errors.New("no broker has registered with the name server yet")
	}
	for _, t := range b.topics {
		if err := b.ensureTopic(ctx, ns, masters, t); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bus) ensureTopic(ctx context.Context, ns *wire, masters map[string]string, t Topic) error {
	name := b.names.full(t.Name)
	r, err := ns.route(ctx, name)
	if err != nil {
		return err
	}
	for _, broker := range slices.Sorted(maps.Keys(masters)) {
		queues, exists := r.queues[broker]
		if exists {
			b.warnQueues(ctx, t, queues)
			continue
		}
		if err := createOn(ctx, masters[broker], name, t.Queues); err != nil {
			return err
		}
	}
	return waitRoute(ctx, ns, masters, name)
}

// warnQueues reports a topic that has another number of queues than we were told. It is left as it is: with another
// number the messages of a shard key would change their queue and lose their order.
func (b *Bus) warnQueues(ctx context.Context, t Topic, queues int) {
	if _, ours := b.known[t.Name]; ours && queues != t.Queues {
		b.cfg.Log.WarnContext(ctx, "topic has another number of queues, left as it is",
			"topic", t.Name, "queues", queues, "wanted", t.Queues)
	}
}

func createOn(ctx context.Context, addr, topic string, queues int) error {
	broker, err := dialWire(ctx, addr)
	if err != nil {
		return err
	}
	defer broker.close()
	return broker.createTopic(ctx, topic, queues)
}

// waitRoute returns when the name server knows topic on all masters.
func waitRoute(ctx context.Context, ns *wire, masters map[string]string, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, routeWait)
	defer cancel()
	for {
		r, err := ns.route(ctx, topic)
		if err != nil {
			return err
		}
		missing := 0
		for broker := range masters {
			if r.queues[broker] == 0 {
				missing++
			}
		}
		if missing == 0 {
			return nil
		}
		if !pause(ctx, routePoll) {
			return fmt.Errorf("topic %s has no route on %d of %d brokers", topic, missing, len(masters))
		}
	}
}

// Probe asks, over new connections, a name server for the route of every topic and each broker on these routes for one
// topic's offset. It is quick (milliseconds, 1.5 s at most), tells a stopped broker from a running one, and recovers by
// itself. Its error is [ErrUnavailable], also before Start has succeeded and after Close.
func (b *Bus) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	if b.live.Load() == nil {
		return ErrUnavailable.NotExecuted().WithText("the message bus is not running")
	}
	if err := b.probe(ctx); err != nil {
		return ErrUnavailable.NotExecuted().Wrap(err)
	}
	return nil
}

func (b *Bus) probe(ctx context.Context) error {
	ns, err := b.nameServer(ctx)
	if err != nil {
		return err
	}
	defer ns.close()
	if len(b.topics) == 0 {
		_, err := ns.masters(ctx)
		return err
	}
	brokers := make(map[string]string) // address to one of its topics
	for _, t := range b.topics {
		name := b.names.full(t.Name)
		r, err := ns.route(ctx, name)
		if err != nil {
			return err
		}
		if len(r.masters) == 0 {
			return fmt.Errorf("topic %s has no route", t.Name)
		}
		for _, addr := range r.masters {
			brokers[addr] = name
		}
	}
	for addr, topic := range brokers {
		if err := touchBroker(ctx, addr, topic); err != nil {
			return err
		}
	}
	return nil
}

func touchBroker(ctx context.Context, addr, topic string) error {
	broker, err := dialWire(ctx, addr)
	if err != nil {
		return err
	}
	defer broker.close()
	return broker.touch(ctx, topic)
}

// pause waits d and reports true, or reports false as soon as ctx is done.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
