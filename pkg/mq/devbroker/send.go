package devbroker

import (
	"encoding/binary"
	"strconv"
	"strings"
	"time"
)

// Prefixes of a consumer group's own topics.
const (
	retryPrefix      = "%RETRY%"
	deadLetterPrefix = "%DLQ%"
)

// sendNames are the names of a send's fields: in full, or a letter each.
type sendNames struct {
	group, topic, queue, sysFlag, born, flag, props, reconsumed, maxReconsumed, batch string
}

func namesFor(code int16) sendNames {
	if code == reqSend {
		return sendNames{
			"producerGroup", "topic", "queueId", "sysFlag", "bornTimestamp", "flag", "properties", "reconsumeTimes",
			"maxReconsumeTimes", "batch",
		}
	}
	return sendNames{"a", "b", "e", "f", "g", "h", "i", "j", "l", "m"}
}

// send stores one message or a batch.
func (b *Broker) send(c *conn, f frame) (reply, error) {
	names, in := namesFor(f.Code), &fields{of: f.Fields}
	m := &message{
		topic: in.text(names.topic), queue: in.small(names.queue, -1), body: f.body,
		flag: in.small(names.flag, 0), sysFlag: in.small(names.sysFlag, 0), reconsumed: in.small(names.reconsumed, 0),
		bornAt: in.numberOr(names.born, time.Now().UnixMilli()), bornHost: host(c.net.RemoteAddr()), storeHost: host(c.net.LocalAddr()),
	}
	limit := in.small(names.maxReconsumed, 16)
	if in.err != nil {
		return reply{}, in.err
	}
	props := in.text(names.props)
	if err := checkMessage(m.topic, props, m.body); err != nil {
		return reply{}, err
	}
	m.props = parseProps(props)
	batch := []*message{m}
	if in.text(names.batch) == "true" {
		var err error
		if batch, err = splitBatch(m); err != nil {
			return reply{}, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.faults.refuses(m.topic); err != nil {
		return reply{}, err
	}
	if err := b.address(m, limit); err != nil {
		return reply{}, err
	}
	return b.accept(batch, m)
}

func checkMessage(name, props string, body []byte) error {
	switch {
	case name == "" || len(name) > maxName:
		return refuse(messageIllegal, "a topic of %d bytes; 1 to %d are possible", len(name), maxName)
	case len(props) > maxProps:
		return refuse(messageIllegal, "properties of %d bytes; %d are possible", len(props), maxProps)
	case len(body) > maxBody:
		return refuse(messageIllegal, "a body of %d bytes; %d are possible", len(body), maxBody)
	}
	return nil
}

// address settles topic and queue. What the client library sends back by itself comes as an ordinary send to a retry
// topic, and goes to the dead letters when its attempts are used up.
func (b *Broker) address(m *message, limit int32) error {
	if group, ok := strings.CutPrefix(m.topic, retryPrefix); ok && m.reconsumed > limit {
		m.topic, m.queue = deadLetterPrefix+group, 0
		b.ensureTopic(m.topic, 1)
		m.props = withoutDelay(m.props)
	}
	t := b.topics[m.topic]
	if t == nil {
		return refuse(noTopic, "topic[%s] not exist, apply first please!", m.topic)
	}
	if m.queue < 0 {
		b.turn++
		m.queue = int32(b.turn % t.write) //nolint:gosec // at most maxQueues.
	}
	if int(m.queue) >= t.write {
		return refuse(systemError, "queueId[%d] is illegal, topic %s has %d queues", m.queue, t.name, t.write)
	}
	return nil
}

// accept stores the messages and answers with the first one's place.
func (b *Broker) accept(batch []*message, lead *message) (reply, error) {
	ids := make([]string, 0, len(batch))
	var at int64
	for i, m := range batch {
		m.topic, m.queue = lead.topic, lead.queue
		m.pos = b.position()
		if m.props["UNIQ_KEY"] == "" && len(batch) == 1 {
			m.props["UNIQ_KEY"] = m.id()
		}
		ids = append(ids, m.id())
		if i == 0 {
			at = b.topics[m.topic].queues[m.queue].end()
		}
		if isHalf(m) {
			at = m.pos
			b.open(m)
		} else if err := b.deliver(m); err != nil {
			return reply{}, err
		}
	}
	return reply{fields: map[string]string{
		"msgId": strings.Join(ids, ","), "queueId": strconv.Itoa(int(lead.queue)), "queueOffset": strconv.FormatInt(at, 10),
		"transactionId": lead.props["UNIQ_KEY"],
	}}, nil
}

// splitBatch reads the inner messages of a batch: size, magic, CRC, flag, body, properties each.
func splitBatch(m *message) ([]*message, error) {
	if strings.HasPrefix(m.topic, retryPrefix) {
		return nil, refuse(messageIllegal, "a batch cannot go to a retry topic")
	}
	var batch []*message
	for rest := m.body; len(rest) > 0; {
		n := *m
		flag, body, props, after, ok := nextOfBatch(rest)
		if !ok {
			return nil, refuse(messageIllegal, "message %d of the batch cannot be read", len(batch))
		}
		if err := checkMessage(m.topic, props, body); err != nil {
			return nil, err
		}
		n.flag, n.body, n.props = flag, body, parseProps(props)
		batch, rest = append(batch, &n), after
	}
	if len(batch) == 0 {
		return nil, refuse(messageIllegal, "an empty batch")
	}
	return batch, nil
}

func nextOfBatch(b []byte) (flag int32, body []byte, props string, rest []byte, ok bool) {
	const before = 20 // size, magic, CRC, flag, body length
	if len(b) < before {
		return 0, nil, "", nil, false
	}
	flag = int32(binary.BigEndian.Uint32(b[12:])) //nolint:gosec // bits are bits.
	n := int(binary.BigEndian.Uint32(b[16:]))
	b = b[before:]
	if n > len(b)-2 {
		return 0, nil, "", nil, false
	}
	body, b = b[:n], b[n:]
	n = int(binary.BigEndian.Uint16(b))
	if b = b[2:]; n > len(b) {
		return 0, nil, "", nil, false
	}
	return flag, body, string(b[:n]), b[n:], true
}
