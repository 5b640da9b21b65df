package mq

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
)

const (
	requestConfigure    = 25
	requestGroupClients = 38
)

// Queue is one queue of a topic, as its broker has it.
type Queue struct {
	Broker     string
	ID         int
	Min, Max   int64            // offset of the oldest message that the broker keeps, and of the next one to come
	Committed  map[string]int64 // by consumer group: the offset that it reads next; no entry: it has none
	BrokerAddr string           // that the name server gives to clients
}

// Brokers asks a name server for the brokers that take writes: name to the address that clients use. The error is
// [ErrUnavailable].
func Brokers(ctx context.Context, namesrv string) (map[string]string, error) {
	var brokers map[string]string
	err := onBroker(ctx, namesrv, func(w *wire) (err error) {
		brokers, err = w.masters(ctx)
		return err
	})
	if err != nil {
		return nil, ErrUnavailable.NotExecuted().Wrap(err)
	}
	return brokers, nil
}

// CreateTopic creates a topic on all brokers behind a name server, with its name as it is, and returns when the name
// server has its route. The error is [ErrUnavailable].
func CreateTopic(ctx context.Context, namesrv string, t Topic) error {
	brokers, err := Brokers(ctx, namesrv)
	if err != nil {
		return err
	}
	for _, addr := range brokers {
		if err := onBroker(ctx, addr, func(w *wire) error { return w.createTopic(ctx, t.Name, t.Queues) }); err != nil {
			return ErrUnavailable.Wrap(err)
		}
	}
	err = onBroker(ctx, namesrv, func(w *wire) error {
		_, err := waitRoute(ctx, w, brokers, t.Name)
		return err
	})
	if err != nil {
		return ErrUnavailable.Wrap(err)
	}
	return nil
}

// ConfigureBroker changes settings of the broker that listens at addr while it runs, and creates a topic on it: with a
// new topic the broker registers with its name servers at once, and announces what has changed. settings are lines of
// its configuration file, which it rewrites. The error is [ErrUnavailable].
func ConfigureBroker(ctx context.Context, addr, settings string, t Topic) error {
	err := onBroker(ctx, addr, func(w *wire) error {
		if _, err := w.callBody(ctx, requestConfigure, nil, []byte(settings+"\n")); err != nil {
			return fmt.Errorf("configure the broker: %w", err)
		}
		return w.createTopic(ctx, t.Name, t.Queues)
	})
	if err != nil {
		return ErrUnavailable.Wrap(err)
	}
	return nil
}

// Queues returns the queues of a topic with the offsets of consumer groups, for operators and lessons: names are those
// of the broker, with their namespaces. A topic without a route has none. The error is [ErrUnavailable].
func Queues(ctx context.Context, namesrv, topic string, groups ...string) ([]Queue, error) {
	var r route
	err := onBroker(ctx, namesrv, func(w *wire) (err error) {
		r, err = w.route(ctx, topic)
		return err
	})
	if err != nil {
		return nil, ErrUnavailable.NotExecuted().Wrap(err)
	}
	var found []Queue
	for _, broker := range slices.Sorted(maps.Keys(r.masters)) {
		err := onBroker(ctx, r.masters[broker], func(w *wire) error {
			for id := range r.queues[broker] {
				q := Queue{Broker: broker, ID: id, BrokerAddr: r.masters[broker], Committed: map[string]int64{}}
				if err := w.offsets(ctx, topic, groups, &q); err != nil {
					return err
				}
				found = append(found, q)
			}
			return nil
		})
		if err != nil {
			return nil, ErrUnavailable.NotExecuted().Wrap(err)
		}
	}
	return found, nil
}

// offsets reads a queue's offsets from the broker at the other end.
func (w *wire) offsets(ctx context.Context, topic string, groups []string, q *Queue) (err error) {
	fields := map[string]string{"topic": topic, "queueId": strconv.Itoa(q.ID)}
	if q.Min, err = w.number(ctx, requestMinOffset, fields, "offset"); err != nil {
		return fmt.Errorf("ask for the first offset of %s: %w", topic, err)
	}
	if q.Max, err = w.number(ctx, requestMaxOffset, fields, "offset"); err != nil {
		return fmt.Errorf("ask for the last offset of %s: %w", topic, err)
	}
	for _, group := range groups {
		fields := map[string]string{"topic": topic, "queueId": strconv.Itoa(q.ID), "consumerGroup": group, "setZeroIfNotFound": "false"}
		n, err := w.number(ctx, requestQueryOffset, fields, "offset")
		if isCode(err, codeNoOffset) {
			continue
		}
		if err != nil {
			return fmt.Errorf("ask for the offset of %s: %w", group, err)
		}
		q.Committed[group] = n
	}
	return nil
}

// Members returns the identities of the clients that are consumers of a group, sorted: those that the broker divides
// the queues among. A group without clients has none. The error is [ErrUnavailable].
func Members(ctx context.Context, namesrv, group string) ([]string, error) {
	brokers, err := Brokers(ctx, namesrv)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, addr := range brokers {
		err := onBroker(ctx, addr, func(w *wire) error {
			body, err := w.call(ctx, requestGroupClients, map[string]string{"consumerGroup": group})
			if isCode(err, codeSystemError) { // the broker's answer for a group without clients
				return nil
			}
			if err != nil {
				return fmt.Errorf("ask for the clients of %s: %w", group, err)
			}
			var answer struct {
				Clients []string `json:"consumerIdList"`
			}
			err = decodeLoose(body, &answer)
			found = append(found, answer.Clients...)
			return err
		})
		if err != nil {
			return nil, ErrUnavailable.NotExecuted().Wrap(err)
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// QuietLibrary gives the client library the logger, for a program that uses the library without a [Bus]. The first
// call of it, or the first bus of the process, decides.
func QuietLibrary(log *slog.Logger) { setupLibrary(log) }
