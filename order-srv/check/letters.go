package check

// Letters are the dead letters and parked messages.
type Letters struct {
	Found []Letter
	Err   error // reading failed, at least in part
}

// Letter is a message that the relay parked or a consumer gave up.
type Letter struct {
	Source string // "outbox" or "inventory-outbox" for a parked message, else the consumer group of the dead letter
	Topic  string
	Key    string           // usually an order number
	Lines  map[string]int64 // of the order; nil: the key is no order number
	Reason string
}

// letters checks invariant 7 for messages that were given up. No backstop sends them again; an operator must.
func (r *Report) letters(l Letters) {
	for _, m := range l.Found {
		of := ofShop("dead letters")
		if m.Lines != nil {
			of = ofOrder(m.Key, m.Lines)
		}
		if m.Source == "outbox" || m.Source == "inventory-outbox" {
			r.violation(7, of, "a message on %s with key %s is parked: %s", m.Topic, m.Key, m.Reason)
			continue
		}
		r.violation(7, of, "a message on %s with key %s is a dead letter of %s", m.Topic, m.Key, m.Source)
	}
	if l.Err != nil {
		r.unsettled(7, ofShop("dead letters"), "cannot be read: %v", l.Err)
	}
}
