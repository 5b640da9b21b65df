// Package redisstock keeps stock counters in Redis, where Lua scripts decide, and has MySQL follow.
//
// It is the design of most flash-sale systems with the holes closed that they leave open:
//
//   - All three operations are scripts on the order's own key, and so are idempotent; each appends what it did to one stream.
//   - One replica follows the stream: elected by pkg/lock, fenced by a row of MySQL, and the position is written in the
//     transaction that applies the entries. Killed, stopped or late, it applies each entry once.
//   - An entry that contradicts the ledger is put on record, and its effect in Redis is undone.
//   - Redis loses data: a FLUSHALL, a restart without its file, a replica that is promoted while it is behind. Then a missing
//     counter must not pollInterval like a sold-out one. Everything belongs to an epoch; what is missing shuts it, and the next one is
//     filled from MySQL. What Redis had answered and MySQL had not followed is lost. It is never oversold.
//   - Each replica counts its own answers in Redis and sends the count that it has received, so that no other replica's calls can
//     hide a loss. It remembers each operation that was answered until MySQL has it, and names those that MySQL will never have.
//   - How many entries may wait for MySQL is bounded, and that bounds what can be lost.
package redisstock
