// Package store is where inventory-srv speaks SQL, apart from the strategies, whose subject SQL is: the reservation
// ledger that all of them share, the catalogue, stock that comes in, and the audit's snapshot.
//
// Three rules hold everywhere in it. A transaction takes the order's header (or the inbound's row) before it touches
// stock, and stock rows in SKU order, so that two transactions never wait for each other. Every UPDATE of stock
// increments its version. And a conditional statement's affected rows are checked, because zero rows is how a database
// says no.
package store
