package devbroker

import (
	"strconv"
	"strings"
	"time"
)

// parkedTopic has the half messages of transactions that no producer has decided.
const parkedTopic = "TRANS_CHECK_MAX_TIME_TOPIC"

// half is an open transaction: a message that no consumer sees yet.
type half struct {
	m        *message
	since    time.Time
	checks   int
	immunity time.Duration // own time-out for the first check; 0 none
}

func isHalf(m *message) bool {
	return m.props["TRAN_MSG"] == "true" && !strings.HasPrefix(m.topic, retryPrefix) && !strings.HasPrefix(m.topic, deadLetterPrefix)
}

// open keeps m until its transaction ends.
func (b *Broker) open(m *message) {
	m.sysFlag &^= txBits
	m.stored = time.Now()
	h := &half{m: m, since: m.stored}
	if s, err := strconv.ParseInt(m.props["CHECK_IMMUNITY_TIME_IN_SECONDS"], 10, 32); err == nil && s > 0 {
		h.immunity = time.Duration(s) * time.Second
	}
	b.halves[m.pos] = h
}

// OpenTransactions returns how many half messages wait for their end.
func (b *Broker) OpenTransactions() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.halves)
}

// Questions returns how many times the broker has asked a producer about a half message.
func (b *Broker) Questions() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.questions
}

// endTransaction delivers the message, drops it, or leaves it for the next check.
func (b *Broker) endTransaction(in *fields) (reply, error) {
	pos, verdict, group := in.number("commitLogOffset"), in.number("commitOrRollback"), in.text("producerGroup")
	if in.err != nil {
		return reply{}, in.err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if take(&b.faults.lostEnds) {
		return reply{}, nil
	}
	h := b.halves[pos]
	if h == nil {
		return reply{}, refuse(systemError, "find prepared transaction message failed")
	}
	if h.m.props["PGROUP"] != group {
		return reply{}, refuse(systemError, "the producer group wrong")
	}
	checked := in.text("fromTransactionCheck") == "true"
	if h.immunity > 0 && !checked && time.Since(h.since) > h.immunity {
		return reply{}, refuse(endRefused, "the transaction's immunity has ended, the check decides")
	}
	switch verdict {
	case 0:
	case txCommit:
		delete(b.halves, pos)
		return reply{}, b.commit(h)
	case txBits:
		delete(b.halves, pos)
	default:
		return reply{}, refuse(systemError, "commitOrRollback %d", verdict)
	}
	return reply{}, nil
}

func (b *Broker) commit(h *half) error {
	m := h.m.again()
	m.sysFlag |= txCommit
	m.prepared = h.m.pos
	delete(m.props, "TRAN_MSG")
	m.props["__transactionId__"] = m.props["UNIQ_KEY"]
	return b.deliver(m)
}

// askAll asks about the transactions that have been open for too long. A question without a connected producer counts
// too.
func (b *Broker) askAll(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for pos, h := range b.halves {
		patience := b.o.TransactionTimeout
		if h.checks == 0 && h.immunity > 0 {
			patience = h.immunity
		}
		if now.Sub(h.since) < patience {
			continue
		}
		if h.checks >= b.o.CheckMax {
			delete(b.halves, pos)
			b.park(h)
			continue
		}
		h.checks++
		b.ask(h)
	}
}

// ask sends the question to one of the connections of the producer's group.
func (b *Broker) ask(h *half) {
	for c := range b.asked[h.m.props["PGROUP"]] { // in random order, which spreads them
		b.questions++
		m := h.m.again()
		m.pos = h.m.pos
		m.props["TRANSACTION_CHECK_TIMES"] = strconv.Itoa(h.checks)
		m.props["__transactionId__"] = m.props["UNIQ_KEY"]
		m.encodeProps()
		pos := strconv.FormatInt(m.pos, 10)
		c.notify(frame{header: header{Code: reqCheck, Flag: flagOneWay, Fields: map[string]string{
			"commitLogOffset": pos, "tranStateTableOffset": pos, "offsetMsgId": m.id(),
			"msgId": m.props["UNIQ_KEY"], "transactionId": m.props["UNIQ_KEY"],
		}}, body: m.encode(nil)})
		return
	}
}

// park gives a transaction up and keeps its message where a human may find it.
func (b *Broker) park(h *half) {
	m := h.m.again()
	m.props["REAL_TOPIC"], m.props["REAL_QID"] = m.topic, strconv.Itoa(int(m.queue))
	m.topic, m.queue = parkedTopic, 0
	b.log.Warn("transaction given up", "topic", h.m.topic, "key", h.m.props["KEYS"], "checks", h.checks)
	b.ensureTopic(parkedTopic, 1)
	b.append(m)
}
