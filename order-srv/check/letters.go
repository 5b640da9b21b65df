package check

// Letters are the messages that were given up.
type Letters struct {
	Found []Letter
	Err   error // why they, or some of them, could not be read; nil
}

// Letter is a message that was given up.
type Letter struct {
	Source string // outbox, where it is parked, or the consumer group that gave it up
	Topic  string
	Key    string // an order number as a rule
	Reason string
}

// letters checks invariant 7 for messages that were given up. No healer sends them: an operator does.
func (r *Report) letters(l Letters, orders map[string]Order) {
	for _, m := range l.Found {
		of := ofShop("dead letters")
		if o, known := orders[m.Key]; known {
			of = ofOrder(o.OrderNo, o.Lines)
		}
		if m.Source == "outbox" {
			r.violation(7, of, "a message on %s with key %s is parked: %s", m.Topic, m.Key, m.Reason)
			continue
		}
		r.violation(7, of, "a message on %s with key %s is a dead letter of %s", m.Topic, m.Key, m.Source)
	}
	if l.Err != nil {
		r.unsettled(7, ofShop("dead letters"), "cannot be read: %v", l.Err)
	}
}
