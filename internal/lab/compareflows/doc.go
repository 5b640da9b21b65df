// Package compareflows measures the flows side by side in one shop: the same products, the same stock strategy, the
// same buyers and the same servers, and only X-Order-Flow differs.
//
// It answers four questions about each flow: after which time the client knows whether it has the order, how many
// orders a fixed number of buyers gets, what an order costs the database server and the broker, and what an outage of
// inventory leaves in doubt.
//
// The figures are comparable for these reasons:
//
//   - The flows take turns within one run (A B C A B C), so other load on the machine affects all of them alike.
//   - A flow begins when the orders of the flow before it are decided and their messages are sent.
//   - What an order costs is read from the counters of the database server and of the broker. It contains what no
//     statement in the code shows: a relay that polls, a client that waits, a message that is delivered twice. What the
//     idle shop does anyway is subtracted.
//   - After each flow an audit reads both ledgers and the wallets. A flow with findings is broken, however fast it is.
package compareflows
