// Package compare runs the stock strategies side by side on the same servers. It reports throughput, latency, oversold
// and undersold units, and ratios to SELECT … FOR UPDATE.
//
// It measures in process, through inventorylab. HTTP would add the same few hundred microseconds to every strategy and
// hide their differences. The servers are durable: a commit is on disk before it is acknowledged.
//
// The figures are comparable for these reasons:
//
// - Repetitions are interleaved (A B C A B C, not A A B B), so other load on the machine affects all strategies alike.
//   - Every cell has a database of its own, so no strategy reads tables that another one filled.
//   - Figures are medians with their spread, and conclusions are ratios within one run.
//   - The ledger is checked after every cell. A fast cell that lost units is marked as broken.
//
// Both loops are needed because each has a bias. In a closed loop each caller sends its next order as soon as it gets
// an answer. The closed loop shows a strategy's maximum throughput but hides waiting, because a slow strategy gets
// fewer orders. In an open loop orders arrive at random at a fixed rate, like customers, and latency counts from the
// arrival.
package compare
