package mq_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/pkg/fault"
	"holdfast/pkg/mq"
	"holdfast/pkg/mq/devbroker"
)

// developmentBroker starts a broker inside the test and returns its address.
func developmentBroker(t *testing.T) string {
	t.Helper()
	b, err := devbroker.Start(devbroker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b.Addr()
}

// TestCreateTopic: a topic exists with its queues as soon as it is created, and all operators' questions see it.
func TestCreateTopic(t *testing.T) {
	t.Parallel()
	addr := developmentBroker(t)
	for _, topic := range []mq.Topic{{Name: "a-orders", Queues: 3}, {Name: "b-orders", Queues: 1}} {
		if err := mq.CreateTopic(t.Context(), addr, topic); err != nil {
			t.Fatal(err)
		}
	}
	brokers, err := mq.Brokers(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"development-broker": addr}, brokers); diff != "" {
		t.Errorf("brokers (-want +got):\n%s", diff)
	}
	queues, err := mq.Queues(t.Context(), addr, "a-orders", "g")
	if err != nil {
		t.Fatal(err)
	}
	var want []mq.Queue
	for id := range 3 { // a group that is new reads from the first message on
		want = append(want, mq.Queue{Broker: "development-broker", ID: id, Committed: map[string]int64{"g": 0}, BrokerAddr: addr})
	}
	if diff := cmp.Diff(want, queues); diff != "" {
		t.Errorf("queues (-want +got):\n%s", diff)
	}
	if queues, err := mq.Queues(t.Context(), addr, "unknown", "g"); err != nil || len(queues) != 0 {
		t.Errorf("queues of an unknown topic: %v, error %v", queues, err)
	}
	if members, err := mq.Members(t.Context(), addr, "g"); err != nil || len(members) != 0 {
		t.Errorf("members of a group without clients: %v, error %v", members, err)
	}
}

// TestDeleteNamespace: the topics of the namespace and of its groups go, those of a namespace whose name begins with
// the same letters stay.
func TestDeleteNamespace(t *testing.T) {
	t.Parallel()
	addr := developmentBroker(t)
	for _, name := range []string{"a-orders", "%RETRY%a-g", "%DLQ%a-g", "ab-orders", "%RETRY%ab-g", "b-a-orders"} {
		if err := mq.CreateTopic(t.Context(), addr, mq.Topic{Name: name, Queues: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := mq.DeleteNamespace(t.Context(), addr, ""); err == nil || fault.KindOf(err) == fault.Unavailable {
		t.Errorf("the empty namespace: %v, want an error of the caller", err)
	}
	if err := mq.DeleteNamespace(t.Context(), addr, "a"); err != nil {
		t.Fatal(err)
	}
	topics, err := mq.Topics(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(topics)
	if diff := cmp.Diff([]string{"%RETRY%ab-g", "ab-orders", "b-a-orders"}, topics); diff != "" {
		t.Errorf("topics that stay (-want +got):\n%s", diff)
	}
}

// requests are the questions of an operator that need no bus.
func requests(addr string) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"brokers": func(ctx context.Context) error { _, err := mq.Brokers(ctx, addr); return err },
		"topics":  func(ctx context.Context) error { _, err := mq.Topics(ctx, addr); return err },
		"queues":  func(ctx context.Context) error { _, err := mq.Queues(ctx, addr, "t"); return err },
		"members": func(ctx context.Context) error { _, err := mq.Members(ctx, addr, "g"); return err },
		"create":  func(ctx context.Context) error { return mq.CreateTopic(ctx, addr, mq.Topic{Name: "t", Queues: 1}) },
		"delete":  func(ctx context.Context) error { return mq.DeleteNamespace(ctx, addr, "a") },
	}
}

// TestInspect_noServer: without a name server each question is answered by a fault, and nothing was done.
func TestInspect_noServer(t *testing.T) {
	t.Parallel()
	for name, ask := range requests("127.0.0.1:1") {
		if err := ask(t.Context()); !errors.Is(err, mq.ErrUnavailable) || fault.Ambiguous(err) {
			t.Errorf("%s: %v, want an unambiguous %v", name, err, mq.ErrUnavailable)
		}
	}
}

// frameOf returns an answer of a name server.
func frameOf(header string, body []byte) []byte {
	f := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)+len(body))) //nolint:gosec // short.
	f = binary.BigEndian.AppendUint32(f, uint32(len(header)))                //nolint:gosec // short.
	return append(append(f, header...), body...)
}

// nameServer serves one answer after each request until the test ends. answer gets the request's number.
func nameServer(t *testing.T, answer func(opaque int) []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serveOn(conn, answer)
		}
	}()
	return l.Addr().String()
}

// serveOn answers the requests of one connection, and closes it after an answer that is empty.
func serveOn(conn net.Conn, answer func(opaque int) []byte) {
	defer conn.Close()
	for {
		var prefix [8]byte
		if _, err := io.ReadFull(conn, prefix[:]); err != nil {
			return
		}
		rest := make([]byte, binary.BigEndian.Uint32(prefix[:])-4)
		if _, err := io.ReadFull(conn, rest); err != nil {
			return
		}
		var header struct {
			Opaque int `json:"opaque"`
		}
		if json.Unmarshal(rest[:binary.BigEndian.Uint32(prefix[4:])], &header) != nil {
			return
		}
		out := answer(header.Opaque)
		if _, err := conn.Write(out); err != nil || len(out) == 0 {
			return
		}
	}
}

// TestInspect_hostileAnswers: what is no answer is an error, and neither a panic nor a wait.
func TestInspect_hostileAnswers(t *testing.T) {
	t.Parallel()
	for name, bytes := range map[string][]byte{
		"closed":                   {},
		"huge":                     {0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 2, '{', '}'},
		"negative":                 {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2, '{', '}'},
		"length below its own":     {0, 0, 0, 3, 0, 0, 0, 0},
		"no length":                {0, 0, 0, 0, 0, 0, 0, 0},
		"header longer than frame": {0, 0, 0, 6, 0, 0, 0, 3, '{', '}'},
		"binary header":            {0, 0, 0, 6, 1, 0, 0, 2, '{', '}'},
		"header is not JSON":       frameOf("xx", nil),
		"header of wrong types":    frameOf(`{"opaque":"one"}`, nil),
		"body is not JSON":         frameOf(`{"opaque":1,"flag":1}`, []byte("<html>")),
		"no body":                  frameOf(`{"opaque":1,"flag":1}`, nil),
		"body of wrong types":      frameOf(`{"opaque":1,"flag":1}`, []byte(`{"brokerAddrTable":1,"topicList":1,"brokerDatas":1}`)),
		"refused":                  frameOf(`{"opaque":1,"flag":1,"code":1,"remark":"no"}`, nil),
		"http":                     []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for question, ask := range requests(nameServer(t, func(int) []byte { return bytes })) {
				if err := ask(t.Context()); !errors.Is(err, mq.ErrUnavailable) {
					t.Errorf("%s: %v, want %v", question, err, mq.ErrUnavailable)
				}
			}
		})
	}
}

// TestInspect_otherFrames: requests of the broker's own and late answers to earlier requests are skipped, and the
// numbers that the broker writes without quotation marks are read.
func TestInspect_otherFrames(t *testing.T) {
	t.Parallel()
	addr := nameServer(t, func(int) []byte {
		return slices.Concat(
			frameOf(`{"opaque":1,"flag":0,"code":40}`, nil),
			frameOf(`{"opaque":77,"flag":1,"code":1,"remark":"to another request"}`, []byte("{}")),
			frameOf(`{"opaque":1,"flag":1}`, []byte(`{"brokerAddrTable":{"a":{"brokerAddrs":{0:"10.0.0.1:1",1:"10.0.0.2:1"},"brokerName":"a"},`+
				`"replica":{"brokerAddrs":{1:"10.0.0.3:1"},"brokerName":"replica"}}}`)),
		)
	})
	got, err := mq.Brokers(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "10.0.0.1:1"}, got); diff != "" {
		t.Errorf("brokers that take writes (-want +got):\n%s", diff)
	}
}
