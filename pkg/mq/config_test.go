package mq_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/pkg/fault"
	"holdfast/pkg/mq"
)

func TestOpen_faults(t *testing.T) {
	t.Parallel()
	sound := mq.Config{Namesrv: []string{"localhost:9876"}, Topics: []mq.Topic{{Name: "t"}}}
	tests := map[string]struct {
		change func(c *mq.Config)
		want   []string
	}{
		"nothing wrong": {func(*mq.Config) {}, nil},
		"no address":    {func(c *mq.Config) { c.Namesrv = nil }, []string{"no name server"}},
		"no port":       {func(c *mq.Config) { c.Namesrv = []string{"localhost"} }, []string{`"localhost" is not host:port`}},
		"several": {func(c *mq.Config) {
			c.Namespace, c.Instance = "a b", "c/d"
			c.Topics = []mq.Topic{{Name: "x.y"}, {Name: "t", Queues: -1}, {Name: "t"}, {Name: strings.Repeat("l", 130)}}
		}, []string{"namespace", "instance", `"x.y"`, "-1 queues", "twice", "too long"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := sound
			tt.change(&c)
			_, err := mq.Open(c)
			if (err != nil) != (tt.want != nil) {
				t.Fatalf("Open = %v", err)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("Open = %v, which lacks %q", err, w)
				}
			}
		})
	}
	shared := sound
	shared.Registerer = prometheus.NewRegistry()
	if _, err := mq.Open(shared); err != nil {
		t.Fatal(err)
	}
	if _, err := mq.Open(shared); err == nil {
		t.Error("two buses on one registry: no error")
	}
}

func TestBus_Subscribe_panics(t *testing.T) {
	t.Parallel()
	nop := func(context.Context, mq.Message) error { return nil }
	check := func(mq.Message) mq.TxState { return mq.TxUnknown }
	tests := map[string]func(b *mq.Bus){
		"unknown topic":   func(b *mq.Bus) { b.Subscribe(mq.Subscription{Group: "g", Topic: "u", Handler: nop}) },
		"no handler":      func(b *mq.Bus) { b.Subscribe(mq.Subscription{Group: "g", Topic: "t"}) },
		"bad group":       func(b *mq.Bus) { b.Subscribe(mq.Subscription{Group: "g g", Topic: "t", Handler: nop}) },
		"same group":      func(b *mq.Bus) { subscribeTwice(b, nop) },
		"two tx":          func(b *mq.Bus) { b.TxProducer("a", check); b.TxProducer("b", check) },
		"tx, no checker":  func(b *mq.Bus) { b.TxProducer("a", nil) },
		"negative number": func(b *mq.Bus) { b.Subscribe(mq.Subscription{Group: "g", Topic: "t", Handler: nop, Workers: -1}) },
	}
	for name, wire := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := idle(t)
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			wire(b)
		})
	}
}

func subscribeTwice(b *mq.Bus, h mq.Handler) {
	b.Subscribe(mq.Subscription{Group: "g", Topic: "t", Handler: h})
	b.Subscribe(mq.Subscription{Group: "g", Topic: "t", Handler: h})
}

func idle(t *testing.T) *mq.Bus {
	t.Helper()
	b, err := mq.Open(mq.Config{Namesrv: []string{"127.0.0.1:1"}, Topics: []mq.Topic{{Name: "t"}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestProducer_Send_invalid(t *testing.T) {
	t.Parallel()
	b := idle(t)
	body := []byte("{}")
	tests := map[string]mq.Message{
		"unknown topic":  {Topic: "u", Body: body},
		"no body":        {Topic: "t"},
		"body too large": {Topic: "t", Body: make([]byte, 5<<20)},
		"key with blank": {Topic: "t", Body: body, Key: "a b"},
		"shard key":      {Topic: "t", Body: body, ShardKey: "a\x01b"},
		"header's name":  {Topic: "t", Body: body, Headers: map[string]string{"KEYS": "x"}},
		"header's value": {Topic: "t", Body: body, Headers: map[string]string{"x": "a\x02b"}},
		"no value":       {Topic: "t", Body: body, Headers: map[string]string{"x": ""}},
		"headers' size":  {Topic: "t", Body: body, Headers: map[string]string{"x": strings.Repeat("y", 20<<10)}},
		"too far ahead":  {Topic: "t", Body: body, DeliverAt: time.Now().Add(100 * time.Hour)},
	}
	for name, m := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := b.Producer().Send(t.Context(), m)
			if !errors.Is(err, mq.ErrInvalidMessage) || fault.Ambiguous(err) || fault.KindOf(err) != fault.Invalid {
				t.Errorf("Send = %v, want an unambiguous %v", err, mq.ErrInvalidMessage)
			}
		})
	}
	tx := b.TxProducer("tx", func(mq.Message) mq.TxState { return mq.TxUnknown })
	err := tx.SendInTx(t.Context(), mq.Message{Topic: "t", Body: body, DeliverAt: time.Now()}, nil)
	if !errors.Is(err, mq.ErrInvalidMessage) {
		t.Errorf("delayed transaction: %v", err)
	}
}

func TestSurelyNotSent(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"CODE: 2, DESC: [TIMEOUT_CLEAN_QUEUE]broker busy": true,
		"CODE: 13, DESC: timer message illegal":           true,
		"CODE: 1, DESC: system error":                     false,
		"the topic=x route info not found":                true,
		"request timeout":                                 false,
		"write tcp: broken pipe":                          false,
	} {
		if got := mq.SurelyNotSent(errors.New(text)); got != want {
			t.Errorf("%s: surely not sent = %v, want %v", text, got, want)
		}
	}
}
