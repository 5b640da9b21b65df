// Package admit decides at the entrance of a service which requests it takes. A service that takes more than it can do
// does less: every request waits for all the others, and the work is finished after its caller has given up. A limiter
// keeps the work in flight small, lets a short burst wait, and refuses the rest at once, before anything is executed.
//
// The signal is time, not a number of cores or a rate that an operator has measured:
//
//   - The limit of requests in flight follows the service time. When a request takes longer than Config.ServiceTarget on
//     average, the limit falls in proportion; when all slots are taken and requests are faster, it rises, up to
//     Config.Max. It moves once per service time at most, because the effect of a change is not visible earlier.
//   - A request that finds no free slot waits in a queue if it is expected to wait for less than Config.MaxWait. When the
//     least wait of a whole interval was above Config.Target, the queue is standing: it adds delay and absorbs nothing. Then
//     only requests with an expected wait of less than Config.Target may wait (the idea of CoDel).
//   - A request whose deadline ends before its expected wait and the recent service time have passed is refused: its
//     slot would do work for nothing.
//
// A slot is held until the work has ended, whether or not the caller is still there.
package admit
