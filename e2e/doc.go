// Package e2e tests the three services together, as processes, on real servers: an order followed through its hops, the
// sell-out, expiry and payment, bad input, and each dependency cut in turn.
package e2e
