// Package redisstock is the strategy redis-lua: Lua scripts decide on stock counters in Redis, and MySQL follows.
//
// It is the design of most flash-sale systems without their faults:
//
//   - Each operation is a script on the order's own key, hence idempotent, and appends one entry to one stream.
//   - One replica, the writer, applies the stream to MySQL. pkg/lock elects it, a row of MySQL fences it, and the
//     position is written in the transaction that applies the entries. Each entry is applied once.
//   - An entry that contradicts the ledger is recorded, and its effect in Redis is compensated.
//   - Redis loses data: by FLUSHALL, by a restart without its file, by the promotion of a replica that was behind. A
//     missing counter must not look like a sold-out one. All keys belong to an epoch. A missing key shuts the epoch,
//     and the next one is filled from MySQL. What Redis had answered and MySQL had not applied is lost. It is never
//     oversold.
//   - Each replica counts its own answers in Redis and sends the count that it has received, so that the calls of other
//     replicas cannot hide a loss. It remembers each answered operation until MySQL has it, and records the lost ones.
//   - The number of entries that wait for MySQL is bounded, and so is a loss.
package redisstock
