// Package batch turns calls that arrive at the same time into one piece of work, so that what costs the same for one as
// for a thousand (a round trip, a lock, a durable commit) is paid once for all of them. Each caller still makes one
// call and gets one answer.
//
//	b := batch.New(func(ctx context.Context, calls *batch.Batch[Order, Receipt]) {
//		for _, c := range calls.Calls() {
//			c.Answer(…)
//		}
//	})
//	receipt, err := b.Do(ctx, order, len(order.Lines))
//
// # How calls are gathered
//
// By nothing but the work itself, which the field calls natural batching. While a flush runs, arrivals queue; when it
// ends, all of them form the next, up to a maximum. There is no timer and nothing to tune: an idle system flushes a
// single caller at once, with the latency of that one piece of work; the busier it gets, the larger the batches and the
// cheaper each call. A batcher that waited "a millisecond for more" would make every quiet moment a millisecond slower,
// and would still be too short in the rush.
//
// One thing is worth waiting for: callers that have just been answered and call again at once, as those of a closed
// loop do. Otherwise they divide into halves that take turns, and no batch has more than one of them, see [WithLinger].
//
// The idea is the group commit of databases, which write the log records of many transactions with one disk write:
// DeWitt, Katz, Olken, Shapiro, Stonebraker and Wood, "Implementation Techniques for Main Memory Database Systems",
// SIGMOD 1984.
//
// # Callers that give up
//
// A caller whose context ends leaves without disturbing the others. It gets [ErrWithdrawn] if its call was still in the
// queue or its flush had done nothing yet: the call was not executed. Else it gets [ErrUnanswered]: the call may have
// been executed. A flush that reports when it has done nothing makes the first answer more frequent, see [Batch.Open].
//
// # What a flush may do
//
// It may answer a call before it has finished with the others, see [Batch.Deliver], and it may let the next flush begin
// while it waits, see [WithOverlap]. Several flushes may run at the same time, see [WithFlushes].
//
// It has a context of its own, with a deadline, for no single caller's end may end the work of the others. If it
// panics, all its callers get a [PanicError], and the next batch is served as if nothing had been.
package batch
