// Package admit limits the requests that a service has in flight. A service without a limit does less under overload:
// each request waits for all others, and the work ends after its caller has given up. A limiter keeps the work in
// flight small, lets a short burst wait, and refuses the rest at once, before anything is executed.
//
// The signal is time, not a number of cores or a rate that an operator has measured:
//
//   - The limit of requests in flight follows the service time. When the average is above Config.ServiceTarget, the
//     limit falls in proportion. When all slots are taken and requests are faster, it rises by a quarter, up to
//     Config.Max. It moves once per service time at most, because the effect of a change is not visible earlier. When a
//     service behind this one refuses requests, the limit falls by their share. It begins with 256 and returns there
//     when nothing is in flight: a service that became slow in a pause would not answer 1,024 requests in time.
//   - A request that finds no free slot waits in a queue if its expected wait is less than Config.MaxWait. When the
//     least wait of a whole interval was above Config.Target, the queue adds delay and absorbs no burst. Then only
//     requests with an expected wait of less than Config.Target may wait (the idea of CoDel).
//   - A request is refused if its deadline ends before its expected wait plus the recent service time: its work would
//     be wasted.
//
// A slot is held until the work has ended, whether or not the caller is still there.
package admit
