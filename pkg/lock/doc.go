// Package lock is a lease-based lock on one Redis or on several independent Redis servers.
//
//	lease, err := locker.Acquire(ctx, "SKU-1", "SKU-2") // all of them or none
//	if err != nil {
//		return err
//	}
//	defer func() { err = errors.Join(err, lease.Release(ctx)) }()
//	return transaction(lease.Context(), lease.Token("SKU-1")) // commits before the release; SKU-2 has the same token
//
// [Do] is this in one call.
//
// # What it promises
//
// While the backend keeps its data and clocks run at about the same speed, two leases never hold a key at the same
// time. A lease ends on its own: when it is not renewed in time, when its key is gone or another's, and after MaxHold.
// Then [Lease.Context] is cancelled, by a timer of this process, a margin before the key can expire: an answer of Redis
// may never arrive. A renewal extends the lease only if the backend said so while it was still valid.
//
// # What no lock service can promise
//
// A lease is not a mutex. A process that is stopped between its last check of the context and its write does not notice
// that its lease has ended; Redis may lose a key in a restart, a flush or a failover to a replica; a suspended virtual
// machine's timers stand still. So the resource must check. [Lease.Token] grows with every acquisition in the
// prefix; all keys of one lease have the same. Claim it first in the transaction, before any read,
//
//	UPDATE stock SET fence = ? WHERE sku = ? AND fence < ?   -- one row affected, or the token is stale
//
// then read, then write. The claim's row lock makes it exact; its number refuses the stale holder. A fence that is
// checked only on the write still loses updates. If Redis lost its counter, every claim is refused until [Redis.Raise]
// has raised it above the newest token of the whole resource, MAX(fence).
//
// # Which backend
//
//	           token   a holder that cannot be reached   survives                      round trips
//	Redis      yes     loses the key after its TTL       a restart, if it writes it    2
//	Redlock    no      loses the key after its TTL       a minority of its servers     2, to each server
//
// [Redis] is the one to use: its token protects the resource. [Redlock] remains available while a minority of its
// servers is down. Where the data itself is in MySQL, a row lock in the same transaction does more than either.
//
// # Waiting
//
// A waiter subscribes, tries, and then waits for the release's message, for the expiry of the key that is in its way,
// or for a jittered poll, as messages may be lost. It waits until its context ends or MaxWait has passed; the number of
// tries is not limited. In one process only the first waiter of a key sends commands; the others queue behind it, first
// come, first served. A waiter for several keys keeps its place in the queue of each, also where the key itself is
// free.
//
// Across processes, on one Redis, a claim that is refused three times draws a ticket, a claim for one key after two.
// Its keys, free ones too, are then kept for it from claims with a higher ticket or none, and from Try. So every waiter
// with a ticket gets its lease, provided that holders release and no caller waits for a lease while it holds one; the
// comment of tickets in redis_tickets.go has the argument. Before that a waiter may be overtaken. A waiter that dies
// delays others for two polls, one that gives up for a round trip. The price: a key that is kept for a waiter for
// several keys is idle until the last of them is free.
//
// Redlock has no tickets, a split vote is repeated after a random pause; there a waiter for many keys can
// starve beside callers that never stop taking each of them.
//
// In BenchmarkFairness callers of 2, 3 and 4 processes, four in each, retry at once and hold for 2 ms. The shares of
// the processes were 48 to 52, 31 to 35 and 24 to 28 %. In BenchmarkManyKeys, 64 callers for one of forty keys each got
// 92 % of their leases beside a waiter for ten of these keys. One Redis 7.0, two cores that other work kept busy,
// everything on loopback.
//
// # What it costs
//
// Two round trips when no other caller wants the key; a refusal is one. A lease has a goroutine and two timers. Redis
// keeps two counters for each prefix, however many keys are locked.
//
// Locks are exclusive and not reentrant. All locks of one prefix live in one Cluster slot.
//
// # Speed
//
// From `make bench-lock`, which prints the whole table: five repetitions side by side on an otherwise idle machine, one
// Redis 7.0, two cores, everything on loopback. Four clients, each with connections of its own, want one lock and hold
// it for 5 ms.
//
//	                        open loop, busy 40 %: wait, ms   burst of 40    commands for each
//	                        p50    p90    p99                drain, ms      open loop  burst
//	this package            0.5    9.3    19.9 (15.1-20.3)   241 (232-242)    12.2     29.5
//	rueidislock             0.5    8.5    24.6 (21.5-25.4)   229 (227-236)     7.9     14.9
//	redsync, 5 ms poll      0.4   17.7    37.0 (35.7-48.6)   271 (250-282)     6.7     63.3
//	redislock, 5 ms poll    0.4   17.3    47.6 (34.5-50.0)   275 (257-282)     9.0     69.7
//	redsync, its defaults   0.4    373     754 (649-887)     701 (607-851)     6.3     10.2
//	sync.Mutex, one process 0.0    5.6    12.7 (10.9-14.8)   215 (211-216)
//
// So the p99 of the wait is 0.81 times rueidislock's and 1/43 of redsync's with its defaults, and a burst is drained in
// 1.20 times the ideal of 200 ms. Figures are medians, in brackets the lowest and the highest. Commands are the
// server's own count, those inside of scripts included: tickets cost commands in scripts, not round trips. The last
// line is what queueing alone costs.
//
// # How to read it
//
// First examples/simple.go, a lock in about sixty lines; its comments name the file that adds what it lacks. Then the
// way of Acquire on one Redis:
//
//	lock.go              what a caller sees
//	acquire.go           the wait, the attempts and their clean-up
//	queue.go             the order of the callers in this process
//	backend.go           what is common to Redis and Redlock
//	redis_acquire.go     one attempt on Redis
//	scripts/acquire.lua  what Redis does in it
//	lease.go             what the caller gets
//
// Then lease_end.go and redis_release.go (renewal, loss, release) and redis_tickets.go (the order across processes).
// The files redlock*.go hold what several servers need: majority, votes and slow nodes.
//
// # Underneath
//
// [Redis] runs its scripts by itself. [Redlock] uses github.com/go-redsync/redsync, which sends to all servers at once,
// counts the quorum, cleans up after an attempt that failed and counts the validity. Two of its options are not used:
// with SetNXOnExtend a late renewal would take a key again that was released or expired, and failFast leaves orphans
// behind.
package lock
