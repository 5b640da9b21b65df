// Package notify notifies buyers that their orders are paid: it calls the URL that a buyer has set, with growing delays
// until the receiver answers with a 2xx status, and gives up after the last one. This is best-effort notification: the
// order does not depend on it, and its result stays to be read.
//
//   - The row is written in the transaction that makes the order PAID (store.Pay). Its next_at is the truth about what
//     is to be sent and when. The commit wakes the [Notifier] of the same process, a delayed message wakes one of any
//     process when the next attempt is due. Both only hasten: without them the notifier finds the row when it polls.
//   - An attempt claims its row for a time (a lease), so two replicas do not send at the same time. A process that dies
//     between the receiver's answer and the record of it sends twice. Delivery is at least once, and the receiver
//     recognises the event by its id.
//   - One slow receiver must not hold up the others: a user has at most two attempts under way in a process, and while
//     a user has them, the search for due rows passes the user's others.
//   - The URL is a stranger's, and this process is inside the network. So [Guard] checks each address that the name
//     resolves to, when the connection is made and not before: see its comment.
package notify
