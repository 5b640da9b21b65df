// Package stocktest is what the tests of several packages of inventory-srv share: the checks of a ledger, and control
// over the statements of a pool.
package stocktest
