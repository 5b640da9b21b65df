// Command overload measures what the shop does when more orders arrive than it can place.
//
// First it finds the capacity: the best number of orders a second that a closed loop places, with several numbers of
// buyers. Then it offers multiples of it in an open loop, where orders arrive at a constant rate whatever the shop
// does, over 1,000 and 3,000 connections. Afterwards it rests, and looks whether the shop does, too.
//
// It exits with status 1 when a bar is missed, 2 when it could not measure.
//
// The generator shares the machine with the shop, so it must be cheap: each connection is one goroutine that writes a
// request from a template and reads the answer's status and length, without net/http. The report shows how much CPU it
// used; a result with much of it says little about the shop.
package main
