package devbroker

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"
)

func encoded(tb testing.TB, f frame) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := f.writeTo(&b); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// FuzzReadFrame: whatever comes is a frame, which survives a round trip, or an error; never a panic.
func FuzzReadFrame(f *testing.F) {
	f.Add(encoded(f, frame{header: header{Code: 10, Opaque: 7, Fields: map[string]string{"topic": "t"}}, body: []byte("x")}))
	f.Add([]byte{0, 0, 0, 4, 0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1})
	f.Add([]byte{0, 0, 0, 5, 0, 0xff, 0xff, 0xff, '{'})
	f.Add([]byte{0, 0, 0, 6, 1, 0, 0, 2, '{', '}'})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readFrame(bytes.NewReader(b))
		if err != nil {
			if !errors.Is(err, errFrame) && !errors.Is(err, io.EOF) {
				t.Errorf("error of an unknown kind: %v", err)
			}
			return
		}
		again, err := readFrame(bytes.NewReader(encoded(t, got)))
		if err != nil || again.Code != got.Code || again.Opaque != got.Opaque || !bytes.Equal(again.body, got.body) {
			t.Errorf("round trip of %+v: %+v, %v", got, again, err)
		}
	})
}

// FuzzServe gives frames to a broker: each request is answered once, or held, and nothing panics.
func FuzzServe(f *testing.F) {
	topic := map[string]string{"topic": "t", "b": "t", "queueId": "0", "e": "0", "m": "true", "writeQueueNums": "2"}
	for _, code := range []int16{
		reqCreateTopic, reqSend, reqSendV2, reqSendBatch, reqPull, reqHeartbeat, reqLock, reqSendBack, reqEndTransaction, reqRoute, 999,
	} {
		f.Add(encoded(f, frame{header: header{Code: code, Fields: topic}, body: []byte(`{"clientID":"c"}`)}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		req, err := readFrame(bytes.NewReader(b))
		if err != nil || req.Flag != 0 {
			return
		}
		broker, err := Start(Options{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer broker.Close()
		broker.mu.Lock()
		broker.ensureTopic("t", 2)
		broker.mu.Unlock()
		ours, theirs := net.Pipe()
		defer theirs.Close()
		var held sync.WaitGroup
		c := newConn(ours, &held)
		defer held.Wait()
		defer c.close()
		broker.serve(c, req)
		if req.Code == reqPull {
			return
		}
		if n := len(c.out); n == 0 {
			t.Errorf("request %d was not answered", req.Code)
		}
	})
}

// A message is read back with what it was stored with, and its parts have the lengths that they claim.
func TestMessage_encode(t *testing.T) {
	t.Parallel()
	m := &message{topic: "t", body: []byte("body"), props: map[string]string{"KEYS": "k", "TAGS": "x"}, stored: time.Unix(1, 0), pos: 255}
	m.encodeProps()
	b := m.encode([]byte("before"))
	if got := b[6:]; len(got) != int(got[3]) || !bytes.HasSuffix(got, []byte("KEYS\x01k\x02TAGS\x01x\x02")) {
		t.Errorf("encoded as %x", got)
	}
	if got, want := m.id(), "000000000000000000000000000000FF"; got != want {
		t.Errorf("id %s, want %s", got, want)
	}
}
