package mq

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what passes through a bus. Topics and groups are labelled with our names, without the namespace.
type metrics struct {
	sent    *prometheus.CounterVec // topic, result: ok, failed
	handled *prometheus.CounterVec // topic, group, verdict: ack, retry, dead
	dead    *prometheus.CounterVec // topic, group
	panics  *prometheus.CounterVec // group
	checks  *prometheus.CounterVec // group, answer: commit, rollback, unknown
}

// newMetrics registers the counters. The error says that reg has them already, that is, serves another bus.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		sent:    counter("mq_sent_total", "Messages sent, half messages included.", "topic", "result"),
		handled: counter("mq_handled_total", "Messages handled, by verdict.", "topic", "group", "verdict"),
		dead:    counter("mq_dead_letters_total", "Messages given up and sent to the dead-letter topic.", "topic", "group"),
		panics:  counter("mq_panics_total", "Panics in handlers and transaction checkers.", "group"),
		checks:  counter("mq_checks_total", "Check-backs of transactions, by answer.", "group", "answer"),
	}
	for _, c := range []prometheus.Collector{m.sent, m.handled, m.dead, m.panics, m.checks} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics: %w", err)
		}
	}
	return m, nil
}
