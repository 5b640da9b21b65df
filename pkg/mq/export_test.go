package mq

import "testing"

// SurelyNotSent is surelyNotSent, for tests.
func SurelyNotSent(err error) bool { return surelyNotSent(err) }

// StoreSuffix returns what the names of b's groups end with at the broker.
func StoreSuffix(b *Bus) string { return storeSuffix(b.store.Load()) }

// RouteQueues returns how many queues a topic of b has, broker by broker.
func RouteQueues(tb testing.TB, b *Bus, topic string) []int {
	tb.Helper()
	ns, err := b.nameServer(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	defer ns.close()
	r, err := ns.route(tb.Context(), b.names.full(topic))
	if err != nil {
		tb.Fatal(err)
	}
	var queues []int
	for _, n := range r.queues {
		queues = append(queues, n)
	}
	return queues
}
