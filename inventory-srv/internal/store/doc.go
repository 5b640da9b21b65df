// Package store holds the SQL of inventory-srv that is not a strategy's or a layout's: the reservation ledger, which
// all strategies share, the catalogue, deliveries, and the audit's snapshot.
//
// Three rules hold in every transaction. It takes the order's header (or the inbound's row) before stock, and stock
// rows in SKU order, so that two transactions never wait for each other. Every UPDATE of stock increments its version.
// The affected rows of a conditional statement are checked, because zero rows mean a refusal.
package store
