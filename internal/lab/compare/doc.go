// Package compare runs the stock strategies side by side on the same servers and reports what each of them does and
// costs: throughput, latency, oversold and undersold units, and ratios to SELECT … FOR UPDATE.
//
// It measures in process, through inventorylab: over HTTP every strategy would cost the same few hundred microseconds
// more, and that is what one would compare. Servers are durable: a commit is on disk before it is answered.
//
// What makes the figures comparable:
//
//   - repetitions are interleaved (A B C A B C, not A A B B): what else the machine does meets all strategies alike;
//   - every cell has a database of its own, so that nobody reads tables that another strategy filled;
//   - figures are medians with their spread, and conclusions are ratios within one run;
//   - after every cell the ledger is checked. A fast cell that lost units is marked, not praised.
//
// Both loops are there because each lies in its way. In a closed loop every caller asks again as soon as it was answered: it
// shows the most that a strategy can do, and hides waiting, as a slow strategy is simply asked less often. In an open loop
// orders arrive at random at a fixed rate, as customers do, and latency counts from the arrival.
package compare
