// Package e2e tests the three services together, as processes on real servers: an order through all hops, sell-outs,
// expiry and payment, bad input, replicas, crashes and lost dependencies.
package e2e
