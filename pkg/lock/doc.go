// Package lock is a lock on Redis for people who know that leases end.
//
//	lease, err := locker.Acquire(ctx, "SKU-1", "SKU-2") // all of them or none
//	if err != nil {
//		return err
//	}
//	defer func() { err = errors.Join(err, lease.Release(ctx)) }()
//	return transaction(lease.Context(), lease.Token("SKU-1"), lease.Token("SKU-2")) // commits before the release
//
// # What it promises
//
// While Redis keeps its data and clocks run at about the same speed, two leases never hold a key at the same time. A lease
// ends on its own: when it is not renewed in time, when its key is gone or another's, and after MaxHold. Then
// [Lease.Context] is cancelled, by a timer of this process and not by an answer that may never come, a margin before the
// key can expire in Redis. A renewal extends the lease only if Redis said so while it was still valid.
//
// # What no lock service can promise
//
// A lease is not a mutex. A process that is stopped between its last look at the context and its write does not know
// that its lease has ended; Redis may lose a key in a restart, a flush or a failover to a replica; a suspended virtual
// machine's timers stand still. So the resource must have the last word. [Lease.Token] grows with every acquisition of
// a key: claim it first in the transaction, before any read,
//
//	UPDATE stock SET fence = ? WHERE sku = ? AND fence < ?   -- one row affected, or the token is stale
//
// then read, then write. The claim's row lock makes it exact; its number refuses the stale holder. A fence that is
// checked only on the write still loses updates, as the read before it may be old. If Redis lost its counters, every claim
// is refused until [Redis.Raise] has lifted them.
//
// # What it costs
//
// Two round trips when nobody else wants the key. A waiter subscribes, tries, and then waits for the release's message,
// for the expiry of the key that is in its way, or for a jittered poll, as Redis's messages may be lost. In one process only
// the first waiter of a key asks Redis; the others queue behind it in order. A waiter for several keys keeps its place in
// the queue of each, also where the key itself is free.
//
// Locks are exclusive and not reentrant. All locks of one prefix live in one Cluster slot.
//
// # Underneath
//
// github.com/go-redsync/redsync makes the attempts, bounds them, cleans up after them and counts their validity. Two of its options are
// left alone: with SetNXOnExtend a late renewal would take a key again that was released or expired, and failFast leaves
// orphans behind.
package lock
