package devbroker_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/pkg/mq/devbroker"
)

// TestDifferences prints each declared difference and sees that it is one: a sentence without a proof fails.
func TestDifferences(t *testing.T) {
	t.Parallel()
	proofs := map[string]func(t *testing.T){
		"Messages, offsets and open transactions": openTransactionOutlivesRestart, // the other two: TestBroker_Restart
		"The end of the process":                  nothingOutlivesTheProcess,
		"A transaction ends once":                 nil, // TestBroker_transactions
		"A delayed message":                       delayToTheMillisecond,
		"A queue keeps":                           nil, // TestBroker_retain
		"A question for the largest offset":       nil, // TestBroker_refusals
		"Properties of more than 32,000 bytes":    propertiesEndAt32000,
		"Not served":                              notServed, // SQL92, binary headers: TestBroker_refusals, _malformedFrames
	}
	for _, d := range devbroker.Differences() {
		t.Log("declared difference:", d)
		found := false
		for about, proof := range proofs {
			if !strings.HasPrefix(d, about) {
				continue
			}
			found = true
			if proof != nil {
				t.Run(about, proof)
			}
			delete(proofs, about)
		}
		if !found {
			t.Errorf("nothing proves: %s", d)
		}
	}
	for about := range proofs {
		t.Errorf("proved, but not declared: %s", about)
	}
}

func openTransactionOutlivesRestart(t *testing.T) {
	b := start(t, devbroker.Options{TransactionTimeout: time.Hour, CheckInterval: time.Hour})
	c := dial(t, b)
	c.topic("t", 1)
	sent := c.must(10, ext{"topic": "t", "queueId": "0", "properties": "TRAN_MSG\x01true\x02PGROUP\x01tx\x02UNIQ_KEY\x01u\x02"}, []byte("half"))
	if err := b.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	c = dial(t, b)
	id := sent.Fields["msgId"] // its last 16 hexadecimal digits are the message's position
	position, err := strconv.ParseInt(id[max(0, len(id)-16):], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	c.must(37, ext{"commitLogOffset": strconv.FormatInt(position, 10), "producerGroup": "tx", "commitOrRollback": "8"}, nil)
	if diff := cmp.Diff([]string{"half"}, c.bodies("t", 1)); diff != "" {
		t.Error(diff)
	}
}

func nothingOutlivesTheProcess(t *testing.T) {
	b := start(t, devbroker.Options{})
	dial(t, b).topic("t", 1)
	addr := b.Addr()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again := start(t, devbroker.Options{Addr: addr})
	if code := dial(t, again).call(105, ext{"topic": "t"}, nil).Code; code != 17 {
		t.Errorf("the topic's route has code %d, want 17: it is gone", code)
	}
}

// Not at the next whole second, on average half a second later: the best of three, because this machine may be busy.
func delayToTheMillisecond(t *testing.T) {
	c := dial(t, start(t, devbroker.Options{}))
	c.topic("t", 1)
	best := time.Hour
	for i := range 3 {
		due := time.Now().Add(150 * time.Millisecond).Truncate(time.Second).Add(time.Second + 50*time.Millisecond)
		c.send("t", "later", "TIMER_DELIVER_MS\x01"+strconv.FormatInt(due.UnixMilli(), 10)+"\x02")
		c.bodies("t", i+1)
		late := time.Since(due)
		if late < -time.Millisecond {
			t.Errorf("%v early", -late)
		}
		best = min(best, late)
	}
	if best > 500*time.Millisecond {
		t.Errorf("at best %v late", best)
	}
}

func propertiesEndAt32000(t *testing.T) {
	c := dial(t, start(t, devbroker.Options{}))
	c.topic("t", 1)
	for size, want := range map[int]int{32_000: 0, 32_001: 13} {
		properties := "k\x01" + strings.Repeat("v", size-3) + "\x02"
		if code := c.call(10, ext{"topic": "t", "queueId": "0", "properties": properties}, nil).Code; code != want {
			t.Errorf("%d bytes of properties: code %d, want %d", size, code, want)
		}
	}
}

func notServed(t *testing.T) {
	c := dial(t, start(t, devbroker.Options{}))
	for _, code := range []int{324, 50} { // request and reply; access control
		if a := c.call(code, nil, nil); a.Code != 3 {
			t.Errorf("request %d is answered %d, want 3: not supported", code, a.Code)
		}
	}
}
