// Command overload measures how the shop behaves when more orders arrive than it can place.
//
// First it finds the capacity: the highest number of orders per second that a closed loop places, over several numbers
// of buyers. Then it offers multiples of the capacity in an open loop, in which orders arrive at a constant rate, over
// 1,000 and 3,000 connections. Afterwards it sends nothing for a while and checks that the shop is at rest.
//
// It exits with status 1 if a bar is missed and with status 2 if it could not measure.
//
// The generator shares the machine with the shop, so it must use little CPU. Each connection is one goroutine that
// writes a request from a template and reads the answer's status and length, without net/http. The report shows the
// generator's CPU usage; with a high usage the result is not meaningful.
package main
