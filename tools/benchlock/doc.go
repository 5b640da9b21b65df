// Command benchlock prints pkg/lock beside other Redis locks for Go: how long callers wait, how fast a crowd is served,
// and what each costs the server. It starts a Redis of its own. `make bench-lock` runs it.
//
// The load is an open loop: requests arrive when they arrive (a Poisson process), each tries once, and a waiter is not
// replaced by a new one. In a closed loop, where a worker retries as soon as it was served, a lock that starves all but
// the last releaser looks fast. Every library has four clients with connections of their own, which is what four
// processes are to Redis, and sees the same arrivals. The libraries take turns, several times over, so that what else
// the machine does falls on all of them; times are medians of the repetitions with their lowest and highest.
package main
