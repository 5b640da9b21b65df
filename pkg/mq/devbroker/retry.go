package devbroker

import "strconv"

// sendBack stores a message that a consumer could not handle again: in the group's retry topic, later each time, or in
// its dead-letter topic when its attempts are used up.
func (b *Broker) sendBack(c *conn, in *fields) (reply, error) {
	group, pos := in.text("group"), in.number("offset")
	level, limit := in.small("delayLevel", 0), in.small("maxReconsumeTimes", 16)
	if in.err != nil {
		return reply{}, in.err
	}
	if len(retryPrefix+group) > maxName || group == "" {
		return reply{}, refuse(systemError, "group %q is empty or too long", group)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.byPos[pos]
	if old == nil {
		return reply{}, refuse(systemError, "look message by offset failed, %d", pos)
	}
	m := old.again()
	m.props, m.queue, m.storeHost = withoutDelay(m.props), 0, host(c.net.LocalAddr())
	if m.props["RETRY_TOPIC"] == "" {
		m.props["RETRY_TOPIC"] = old.topic
	}
	if m.props["ORIGIN_MESSAGE_ID"] == "" {
		m.props["ORIGIN_MESSAGE_ID"] = old.id()
	}
	m.reconsumed++
	switch {
	case level < 0 || old.reconsumed >= limit:
		m.topic = deadLetterPrefix + group
	case level == 0:
		level = 3 + old.reconsumed
		fallthrough
	default:
		m.topic = retryPrefix + group
		m.props["DELAY"] = strconv.Itoa(int(level))
	}
	b.ensureTopic(m.topic, 1)
	return reply{}, b.deliver(m)
}
