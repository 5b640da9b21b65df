package mq

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"time"
)

// The client library cannot identify the broker, and it takes a refused topic for a created one. For these few requests
// this file speaks RocketMQ's remoting protocol itself: a frame is a length, a header length, a JSON header and a body.

// Request codes.
const (
	requestSend         = 10
	requestQueryOffset  = 14
	requestUpdateOffset = 15
	requestCreateTopic  = 17
	requestRuntimeInfo  = 28
	requestMaxOffset    = 30
	requestMinOffset    = 31
	requestEarliestTime = 32
	requestUnregister   = 35
	requestUnlock       = 42
	requestRoute        = 105
	requestClusterInfo  = 106
	requestCreateGroup  = 200
	requestGroups       = 201
	requestTopics       = 206
	requestDeleteGroup  = 207
	requestDeleteTopic  = 215 // of a broker
	requestForgetTopic  = 216 // of a name server
	requestTopicConfig  = 351
)

const (
	masterID     = "0"
	readAndWrite = 6
	wireVersion  = 317     // what the client library says it is
	maxFrame     = 8 << 20 // no answer to our questions comes near it
	wireTimeout  = 5 * time.Second
)

// integerKey finds object keys without quotation marks, which the Java side writes and no JSON decoder takes.
var integerKey = regexp.MustCompile(`([{,])(\d+):`)

// wire is one connection to a name server or broker. It is used by one goroutine.
type wire struct {
	conn   net.Conn
	in     *bufio.Reader
	opaque int32
}

type wireHeader struct {
	Code      int               `json:"code"`
	Language  string            `json:"language"`
	Version   int               `json:"version"`
	Opaque    int32             `json:"opaque"`
	Flag      int               `json:"flag"`
	Remark    string            `json:"remark,omitempty"`
	ExtFields map[string]string `json:"extFields"`
}

// wireError is an answer other than success.
type wireError struct {
	code   int
	remark string
}

// Error implements error.
func (e *wireError) Error() string { return fmt.Sprintf("code %d: %s", e.code, e.remark) }

// isCode reports whether err is an answer with this code.
func isCode(err error, code int) bool {
	e, ok := errors.AsType[*wireError](err)
	return ok && e.code == code
}

func dialWire(ctx context.Context, addr string) (*wire, error) {
	dialer := net.Dialer{Timeout: wireTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return &wire{conn: conn, in: bufio.NewReader(conn)}, nil
}

// close ends the connection. There is nothing to be done about an error.
func (w *wire) close() { _ = w.conn.Close() }

// call sends one request without a body and returns the body of its answer. After an error that is no *wireError the
// connection is out of step and must be closed.
func (w *wire) call(ctx context.Context, code int, fields map[string]string) ([]byte, error) {
	return w.callBody(ctx, code, fields, nil)
}

// callBody is call with a body.
func (w *wire) callBody(ctx context.Context, code int, fields map[string]string, request []byte) ([]byte, error) {
	_, body, err := w.exchange(ctx, code, fields, request)
	return body, err
}

// number is call for an answer that is one number, in the named field.
func (w *wire) number(ctx context.Context, code int, fields map[string]string, name string) (int64, error) {
	h, _, err := w.exchange(ctx, code, fields, nil)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(h.ExtFields[name], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s in the answer to request %d: %w", name, code, err)
	}
	return n, nil
}

// exchange sends one request and returns the header and the body of its answer.
func (w *wire) exchange(ctx context.Context, code int, fields map[string]string, request []byte) (h wireHeader, body []byte, err error) {
	deadline := time.Now().Add(wireTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := w.conn.SetDeadline(deadline); err != nil {
		return h, nil, fmt.Errorf("set a deadline: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = w.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	w.opaque++
	if err := w.send(wireHeader{Code: code, Language: "GO", Version: wireVersion, Opaque: w.opaque, ExtFields: fields}, request); err != nil {
		return h, nil, fmt.Errorf("send request %d: %w", code, err)
	}
	for {
		header, body, err := w.receive()
		if err != nil {
			return h, nil, fmt.Errorf("receive the answer to request %d: %w", code, err)
		}
		if header.Opaque != w.opaque || header.Flag&1 == 0 {
			continue // a request of the broker, which expects no answer from this connection
		}
		if header.Code != 0 {
			return header, nil, &wireError{header.Code, header.Remark}
		}
		return header, body, nil
	}
}

func (w *wire) send(h wireHeader, body []byte) error {
	header, err := json.Marshal(h)
	if err != nil {
		return err
	}
	frame := make([]byte, 8, 8+len(header)+len(body))
	binary.BigEndian.PutUint32(frame, uint32(4+len(header)+len(body))) //nolint:gosec // requests of ours are short.
	binary.BigEndian.PutUint32(frame[4:], uint32(len(header)))
	_, err = w.conn.Write(append(append(frame, header...), body...))
	return err
}

func (w *wire) receive() (h wireHeader, body []byte, err error) {
	var prefix [8]byte
	if _, err := io.ReadFull(w.in, prefix[:]); err != nil {
		return h, nil, err
	}
	length, word := binary.BigEndian.Uint32(prefix[:]), binary.BigEndian.Uint32(prefix[4:])
	headerLength := word & 0xffffff
	if word>>24 != 0 || length > maxFrame || length < 4+headerLength {
		return h, nil, fmt.Errorf("not a JSON frame: %x", prefix)
	}
	rest := make([]byte, length-4)
	if _, err := io.ReadFull(w.in, rest); err != nil {
		return h, nil, err
	}
	if err := json.Unmarshal(rest[:headerLength], &h); err != nil {
		return h, nil, fmt.Errorf("decode a header: %w", err)
	}
	return h, rest[headerLength:], nil
}

type wireBroker struct {
	Name  string            `json:"brokerName"`
	Addrs map[string]string `json:"brokerAddrs"`
}

// masters asks a name server for the brokers that take writes: name to address.
func (w *wire) masters(ctx context.Context) (map[string]string, error) {
	body, err := w.call(ctx, requestClusterInfo, nil)
	if err != nil {
		return nil, fmt.Errorf("ask for the brokers: %w", err)
	}
	var cluster struct {
		Brokers map[string]wireBroker `json:"brokerAddrTable"`
	}
	if err := decodeLoose(body, &cluster); err != nil {
		return nil, err
	}
	found := make(map[string]string)
	for name, b := range cluster.Brokers {
		if addr := b.Addrs[masterID]; addr != "" {
			found[name] = addr
		}
	}
	return found, nil
}

// route is where a topic lives.
type route struct {
	queues  map[string]int    // broker name to number of queues
	masters map[string]string // broker name to address
}

// route asks a name server for a topic's route. An unknown topic has an empty route.
func (w *wire) route(ctx context.Context, topic string) (route, error) {
	r := route{queues: make(map[string]int), masters: make(map[string]string)}
	body, err := w.call(ctx, requestRoute, map[string]string{"topic": topic})
	if isCode(err, codeTopicNotExists) {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("ask for the route of %s: %w", topic, err)
	}
	var answer struct {
		Brokers []wireBroker `json:"brokerDatas"`
		Queues  []struct {
			Broker string `json:"brokerName"`
			Write  int    `json:"writeQueueNums"`
		} `json:"queueDatas"`
	}
	if err := decodeLoose(body, &answer); err != nil {
		return r, err
	}
	for _, b := range answer.Brokers {
		if addr := b.Addrs[masterID]; addr != "" {
			r.masters[b.Name] = addr
		}
	}
	for _, q := range answer.Queues {
		r.queues[q.Broker] = q.Write
	}
	return r, nil
}

// createTopic creates a topic on the broker at the other end. An existing one would get the new number of queues.
func (w *wire) createTopic(ctx context.Context, topic string, queues int) error {
	n := strconv.Itoa(queues)
	_, err := w.call(ctx, requestCreateTopic, map[string]string{
		"topic": topic, "defaultTopic": "TBW102", "readQueueNums": n, "writeQueueNums": n,
		"perm": strconv.Itoa(readAndWrite), "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false",
	})
	if err != nil {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	return nil
}

// queues returns how many queues a topic has on the broker at the other end, 0 when the broker does not have the topic.
// The name server is no witness: it keeps the routes of topics that a broker has lost.
func (w *wire) queues(ctx context.Context, topic string) (int, error) {
	body, err := w.call(ctx, requestTopicConfig, map[string]string{"topic": topic})
	if isCode(err, codeTopicNotExists) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("ask for topic %s: %w", topic, err)
	}
	var config struct {
		Write int `json:"writeQueueNums"`
	}
	if err := decodeLoose(body, &config); err != nil {
		return 0, err
	}
	return config.Write, nil
}

func decodeLoose(body []byte, dst any) error {
	if err := json.Unmarshal(integerKey.ReplaceAll(body, []byte(`$1"$2":`)), dst); err != nil {
		return fmt.Errorf("decode an answer: %w", err)
	}
	return nil
}
