package check

// Answer is what inventory answered to an order that was placed by message.
type Answer string

// The answers. An Order has NotAsked when its flow has no answers.
const (
	NotAsked   Answer = ""
	Unanswered Answer = "no answer"
	Receipt    Answer = "a receipt"
	Refusal    Answer = "a refusal"
)

// answered checks invariant 5 for an order that is decided by inventory's answer. The answer is read after the order
// and never changes, so nothing in flight explains a contradiction. An order that was abandoned may have any answer.
func (r *Report) answered(o Order) {
	var want Answer
	switch {
	case o.Answer == NotAsked || o.Status == pending || o.Status == abandoned:
		return
	case o.Status == rejected:
		want = Refusal
	default:
		want = Receipt
	}
	if o.Answer != want {
		r.violation(5, ofOrder(o.OrderNo, o.Lines), "is %s, but inventory has given it %s", o.Status, o.Answer)
	}
}
