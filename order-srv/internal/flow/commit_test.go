package flow_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/dev/dbtest"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/pkg/mq"
	"holdfast/sql"
)

// commits is a proxy to the database that can lose a COMMIT, or its answer, and be down afterwards.
type commits struct {
	target   string
	armed    atomic.Bool // the next COMMIT is lost
	onCommit func()      // unless nil, called when a COMMIT is on its way
	deliver  bool        // the server gets it, only the answer is lost
	staysOff bool        // no client can connect from then on
	off      atomic.Bool
}

// newCommits returns the DSN through the proxy as well.
func newCommits(t *testing.T, dsn string) (*commits, string) {
	t.Helper()
	from, to := strings.Index(dsn, "tcp(")+4, strings.Index(dsn, ")")
	c := &commits{target: dsn[from:to]}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go c.serve(conn)
		}
	}()
	return c, dsn[:from] + ln.Addr().String() + dsn[to:]
}

func (c *commits) serve(client net.Conn) {
	defer client.Close()
	if c.off.Load() {
		return
	}
	server, err := net.Dial("tcp", c.target)
	if err != nil {
		return
	}
	defer server.Close()
	answers := make(chan struct{})
	var mute atomic.Bool
	go func() {
		defer close(answers)
		buf := make([]byte, 1<<16)
		for {
			n, err := server.Read(buf)
			if mute.Load() || err != nil {
				return
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 1<<16)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		isCommit := bytes.HasSuffix(buf[:n], []byte("\x03COMMIT"))
		if isCommit && c.onCommit != nil {
			c.onCommit()
		}
		if isCommit && c.armed.CompareAndSwap(true, false) {
			c.off.Store(c.staysOff)
			mute.Store(true)
			if c.deliver {
				_, _ = server.Write(buf[:n])
				<-answers // the server has committed
			}
			return
		}
		if _, err := io.Copy(server, bytes.NewReader(buf[:n])); err != nil {
			return
		}
	}
}

// TestTxMessage_Place_commitLost loses the COMMIT of PLACED in each way. The client receives what the row says, or 202
// while the outcome is unknown.
func TestTxMessage_Place_commitLost(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		deliver, off bool
		status       int
		order        order.Status
		events       []string
		half, then   mq.TxState // at once, and by a check-back when the database is back
	}{
		"the answer is lost":                   {true, false, http.StatusCreated, order.Placed, []string{"timeout"}, mq.TxRollback, mq.TxRollback},
		"the COMMIT is lost":                   {false, false, http.StatusCreated, order.Placed, []string{"timeout"}, mq.TxRollback, mq.TxRollback},
		"the answer, and the database is gone": {true, true, http.StatusAccepted, order.Placed, []string{"timeout"}, mq.TxUnknown, mq.TxRollback},
		"the COMMIT, and the database is gone": {false, true, http.StatusAccepted, order.Abandoned, nil, mq.TxUnknown, mq.TxCommit},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := dbtest.NewDSN(t, sql.Orders())
			proxy, through := newCommits(t, dsn)
			proxy.deliver, proxy.staysOff = tt.deliver, tt.off
			arm := ordertest.Then(func(string) { proxy.armed.Store(true) }, ordertest.OK)
			w := ordertest.NewWorldOn(t, through, []ordertest.Answer{arm}, ordertest.Timeout(4*time.Second))
			reply, err := w.Place("k")
			if err != nil || reply.Status != tt.status {
				t.Errorf("reply %d, error %v; want %d", reply.Status, err, tt.status)
			}
			if got := w.Half(); got != tt.half {
				t.Errorf("half message: %s, want %s", got, tt.half)
			}
			proxy.off.Store(false)
			w.Age(reply.OrderNo, time.Minute)
			if got := w.CheckHalf(reply.OrderNo); got != tt.then {
				t.Errorf("check-back: %s, want %s", got, tt.then)
			}
			if got := w.Only().Status; got != tt.order {
				t.Errorf("order is %s, want %s", got, tt.order)
			}
			if diff := cmp.Diff(tt.events, w.Events()); diff != "" {
				t.Errorf("outbox (-want +got):\n%s", diff)
			}
		})
	}
}

// TestIntake_Place_callerGoneInCommit has the caller give up while the COMMIT of the order's insert is on its way,
// which may succeed or be lost. The group goes on: the order is inserted, if need be again, and decided.
func TestIntake_Place_callerGoneInCommit(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		lose, deliver bool
	}{
		"the COMMIT succeeds": {false, false},
		"its answer is lost":  {true, true},
		"the COMMIT is lost":  {true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy, through := newCommits(t, dbtest.NewDSN(t, sql.Orders()))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			proxy.deliver = tt.deliver
			proxy.armed.Store(tt.lose)
			proxy.onCommit = cancel
			w := ordertest.NewWorldOn(t, through, nil, ordertest.Timeout(4*time.Second))
			reply, err := w.Intake.Place(ctx, "ann", ordertest.Request("k"))
			if err != nil || reply.Status != http.StatusCreated {
				t.Errorf("reply %d, error %v", reply.Status, err)
			}
			all, err := w.Orders.After(t.Context(), "", 10)
			if err != nil {
				t.Fatal(err)
			}
			var got []order.Status
			for _, o := range all {
				got = append(got, o.Status)
			}
			if diff := cmp.Diff([]order.Status{order.Placed}, got); diff != "" {
				t.Errorf("orders (-want +got):\n%s", diff)
			}
		})
	}
}
