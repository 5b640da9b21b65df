package devbroker

import (
	"encoding/json"
	"errors"
)

// reply is what a request is answered with: fields, a body, or a code that is not quite a failure (nothing new).
type reply struct {
	code   int16
	remark string
	fields map[string]string
	body   []byte
}

// jsonReply is a reply with a JSON body. The client library splits parts of it by hand, so it must hold no white space.
func jsonReply(v any) (reply, error) {
	body, err := json.Marshal(v)
	return reply{body: body}, err
}

// serve handles one request. Every request is answered, unless it says that it wants no answer: a caller without one
// waits for its full time-out.
func (b *Broker) serve(c *conn, f frame) {
	if f.Code == reqPull {
		b.pull(c, f)
		return
	}
	r, err := b.handle(c, f)
	b.finish(c, f, r, err)
}

// finish answers request f.
func (b *Broker) finish(c *conn, f frame, r reply, err error) {
	if err != nil {
		r = reply{code: systemError, remark: err.Error()}
		if no, ok := errors.AsType[*refusal](err); ok {
			r.code, r.remark = no.code, no.remark
		}
	}
	if f.Flag&flagOneWay != 0 || b.swallows(f.Code) {
		return
	}
	c.answer(frame{
		header: header{Code: r.code, Opaque: f.Opaque, Flag: flagAnswer, Remark: r.remark, Fields: r.fields},
		body:   r.body,
	})
}

func (b *Broker) handle(c *conn, f frame) (reply, error) {
	in := &fields{of: f.Fields}
	switch f.Code {
	case reqSend, reqSendV2, reqSendBatch:
		return b.send(c, f)
	case reqSendBack:
		return b.sendBack(c, in)
	case reqEndTransaction:
		return b.endTransaction(in)
	case reqQueryOffset:
		return b.queryOffset(in)
	case reqUpdateOffset:
		return b.updateOffset(in)
	case reqMaxOffset, reqMinOffset, reqSearchOffset:
		return b.queueOffset(f.Code, in)
	case reqEarliestTime:
		return b.earliestTime(in)
	case reqHeartbeat:
		return b.heartbeat(c, f.body)
	case reqUnregister:
		return b.unregister(c, in)
	case reqConsumers:
		return b.consumerList(in)
	case reqLock, reqUnlock:
		return b.lockQueues(f.Code == reqLock, f.body)
	case reqRoute, reqCluster, reqGroups, reqTopics:
		return b.lookUp(c, f.Code, in)
	case reqCreateTopic:
		return b.createTopic(in)
	case reqTopicConfig:
		return b.topicConfig(in)
	case reqCreateGroup: // a group needs no entry here: offsets are kept of any
		return reply{}, nil
	case reqDeleteTopic, reqForgetTopic:
		return b.deleteTopic(in)
	}
	return reply{}, refuse(notSupported, " request type %d not supported", f.Code)
}
