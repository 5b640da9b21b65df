package devbroker_test

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/mq/devbroker"
)

// Malformed and oversized frames end their own connection and nothing else.
func TestBroker_malformedFrames(t *testing.T) {
	t.Parallel()
	b := start(t, devbroker.Options{})
	other := dial(t, b)
	for name, bytes := range map[string][]byte{
		"huge":                      {0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 2, '{', '}'},
		"negative":                  {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2, '{', '}'},
		"length below its own":      {0, 0, 0, 3, 0, 0, 0, 0},
		"header longer than frame":  {0, 0, 0, 6, 0, 0, 0, 3, '{', '}'},
		"binary header":             {0, 0, 0, 6, 1, 0, 0, 2, '{', '}'},
		"header is not JSON":        {0, 0, 0, 6, 0, 0, 0, 2, 'x', 'x'},
		"header of the wrong types": encodeFrame(`{"code":"ten"}`, nil),
		"http":                      []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
	} {
		c := dial(t, b)
		if _, err := c.conn.Write(bytes); err != nil {
			t.Fatal(err)
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := c.conn.Read(make([]byte, 1)); n != 0 || err == nil || !closed(err) {
			t.Errorf("%s: read %d bytes, %v; want a closed connection", name, n, err)
		}
	}
	other.topic("t", 1) // still served
}

func closed(err error) bool {
	return err == io.EOF || strings.Contains(err.Error(), "reset") //nolint:errorlint // Read returns it bare
}

// What is a frame but makes no sense is answered, because a caller without an answer waits for its whole time-out.
func TestBroker_refusals(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, devbroker.Options{}))
	c.topic("t", 2)
	long := strings.Repeat("x", 40_000)
	for name, r := range map[string]struct {
		code   int
		fields ext
		body   string
		want   int
	}{
		"unknown request":      {code: 4711, want: 3},
		"route":                {code: 105, fields: ext{"topic": "none"}, want: 17},
		"send: no topic":       {code: 10, fields: ext{"topic": "none", "queueId": "0"}, want: 17},
		"send: no queue":       {code: 10, fields: ext{"topic": "t", "queueId": "2"}, want: 1},
		"send: properties":     {code: 10, fields: ext{"topic": "t", "queueId": "0", "properties": long}, want: 13},
		"send: long topic":     {code: 10, fields: ext{"topic": long, "queueId": "0"}, want: 13},
		"send: body":           {code: 10, fields: ext{"topic": "t"}, body: strings.Repeat("x", 4<<20+1), want: 13},
		"send: 73 h ahead":     {code: 10, fields: ext{"topic": "t", "properties": "TIMER_DELAY_SEC\x01262800\x02"}, want: 13},
		"batch: short":         {code: 320, fields: ext{"b": "t", "e": "0", "m": "true"}, body: "abc", want: 13},
		"batch: lies":          {code: 320, fields: ext{"b": "t", "e": "0", "m": "true"}, body: strings.Repeat("\xff", 30), want: 13},
		"pull: no number":      {code: 11, fields: ext{"topic": "t", "queueId": "0", "queueOffset": "x"}, want: 1},
		"pull: no topic":       {code: 11, fields: ext{"topic": "none", "queueId": "0", "queueOffset": "0"}, want: 17},
		"pull: SQL92":          {code: 11, fields: ext{"topic": "t", "queueId": "0", "queueOffset": "0", "expressionType": "SQL92"}, want: 23},
		"pull: beyond the end": {code: 11, fields: ext{"topic": "t", "queueId": "0", "queueOffset": "9"}, want: 21},
		"pull: nothing":        {code: 11, fields: ext{"topic": "t", "queueId": "0", "queueOffset": "0"}, want: 19},
		"heartbeat":            {code: 34, body: "[", want: 1},
		"lock":                 {code: 41, body: "[", want: 1},
		"send back":            {code: 36, fields: ext{"group": "g", "offset": "99"}, want: 1},
		"end of nothing":       {code: 37, fields: ext{"commitLogOffset": "99", "commitOrRollback": "8"}, want: 1},
		"create: bad name":     {code: 17, fields: ext{"topic": "bad topic!"}, want: 1},
		"create: many queues":  {code: 17, fields: ext{"topic": "u", "writeQueueNums": "99999"}, want: 1},
		"largest offset":       {code: 30, fields: ext{"topic": "none", "queueId": "0"}, want: 17},
		"topic's settings":     {code: 351, fields: ext{"topic": "none"}, want: 17},
		"earliest time":        {code: 32, fields: ext{"topic": "t", "queueId": "7"}, want: 1},
		"members of no group":  {code: 38, fields: ext{"consumerGroup": "none"}, want: 1},
	} {
		if a := c.call(r.code, r.fields, []byte(r.body)); a.Code != r.want {
			t.Errorf("%s: code %d %q, want %d", name, a.Code, a.Remark, r.want)
		}
	}
	c.post(10, 2, ext{"topic": "t", "queueId": "0"}, []byte("one-way")) // no answer to this one
	if got := c.bodies("t", 1); got[0] != "one-way" {
		t.Errorf("got %q", got)
	}
}

// Many senders and held pulls at once; under -race this is the test of the locking.
func TestBroker_concurrent(t *testing.T) {
	t.Parallel()
	b := start(t, devbroker.Options{})
	dial(t, b).topic("t", 1)
	const senders, each = 4, 100
	var wg sync.WaitGroup
	for i := range senders {
		c := dial(t, b)
		wg.Go(func() {
			for n := range each {
				c.send("t", fmt.Sprintf("%d-%d", i, n), "KEYS\x01k\x02")
			}
		})
	}
	for range 2 {
		c := dial(t, b)
		wg.Go(func() {
			seen := make(map[string]bool)
			for _, body := range c.bodies("t", senders*each) {
				seen[body] = true
			}
			if len(seen) != senders*each {
				t.Errorf("%d different messages, want %d", len(seen), senders*each)
			}
		})
	}
	wg.Wait()
}

func TestBroker_batch(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, devbroker.Options{}))
	c.topic("t", 1)
	one := "\x00\x00\x00\x1e\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01a\x00\x07TAGS\x01x\x02"
	a := c.must(320, ext{"b": "t", "e": "0", "m": "true"}, []byte(one+one))
	if n := len(strings.Split(a.Fields["msgId"], ",")); n != 2 {
		t.Errorf("identifiers %q, want two", a.Fields["msgId"])
	}
	if diff := cmp.Diff([]string{"a", "a"}, c.bodies("t", 2)); diff != "" {
		t.Error(diff)
	}
}

func beat(client, group string) []byte {
	return fmt.Appendf(nil, `{"clientID":%q,"consumerDataSet":[{"groupName":%q}],"producerDataSet":[]}`, client, group)
}

// A member that comes or goes is known to the others at once, and a heartbeat is the full list.
func TestBroker_groups(t *testing.T) {
	t.Parallel()
	b := start(t, devbroker.Options{})
	one, two := dial(t, b), dial(t, b)
	members := func(c *client) string {
		return string(c.must(38, ext{"consumerGroup": "g"}, nil).Body)
	}
	one.must(34, nil, beat("one", "g"))
	one.pushed(40)
	two.must(34, nil, beat("two", "g"))
	one.pushed(40)
	if got, want := members(one), `{"consumerIdList":["one","two"]}`; got != want {
		t.Errorf("members %s, want %s", got, want)
	}
	two.must(34, nil, beat("two", "another"))
	one.pushed(40)
	if got, want := members(one), `{"consumerIdList":["one"]}`; got != want {
		t.Errorf("members %s, want %s", got, want)
	}
	two.must(34, nil, beat("two", "g"))
	one.pushed(40)
	_ = two.conn.Close()
	one.pushed(40)
	if got, want := members(one), `{"consumerIdList":["one"]}`; got != want {
		t.Errorf("members %s, want %s", got, want)
	}
}

func TestBroker_queueLocks(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, devbroker.Options{LockLease: 300 * time.Millisecond}))
	ask := func(code int, client string) string {
		return string(c.must(code, nil, fmt.Appendf(nil,
			`{"consumerGroup":"g","clientId":%q,"mqSet":[{"topic":"t","brokerName":"b","queueId":0}]}`, client)).Body)
	}
	const granted, refused = `{"lockOKMQSet":[{"topic":"t","brokerName":"b","queueId":0}]}`, `{"lockOKMQSet":[]}`
	for i, step := range []struct {
		code         int
		client, want string
	}{
		{41, "one", granted},
		{41, "one", granted},
		{41, "two", refused},
		{42, "two", ""}, // not its to give up
		{41, "two", refused},
		{42, "one", ""},
		{41, "two", granted},
	} {
		if got := ask(step.code, step.client); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
	time.Sleep(350 * time.Millisecond)
	if got := ask(41, "one"); got != granted {
		t.Errorf("after the lease: %s, want %s", got, granted)
	}
}

// Both ways to the dead letters: the broker counts, or the client sends the message itself.
func TestBroker_deadLetters(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, devbroker.Options{}))
	c.topic("t", 1)
	c.send("t", "refused", "KEYS\x01k\x02")
	_, got := c.pull("t", 0, time.Second)
	back := func(m msg, level string) {
		c.must(36, ext{"group": "g", "offset": strconv.FormatInt(m.pos, 10), "delayLevel": level, "maxReconsumeTimes": "1"}, nil)
	}
	back(got[0], "1")
	_, got = c.pull("%RETRY%g", 0, 5*time.Second)
	if len(got) != 1 || got[0].attempts != 1 || !strings.Contains(got[0].props, "RETRY_TOPIC\x01t\x02") || strings.Contains(got[0].props, "DELAY") {
		t.Fatalf("retried as %+v", got)
	}
	back(got[0], "1")
	c.must(10, ext{"topic": "%RETRY%g", "queueId": "0", "reconsumeTimes": "2", "maxReconsumeTimes": "1", "properties": "DELAY\x013\x02"}, []byte("fallback"))
	if diff := cmp.Diff([]string{"refused", "fallback"}, c.bodies("%DLQ%g", 2)); diff != "" {
		t.Error(diff)
	}
}

// A transaction without a verdict is asked about until it is given up; a commit delivers once.
func TestBroker_transactions(t *testing.T) {
	t.Parallel()
	b := start(t, devbroker.Options{TransactionTimeout: 50 * time.Millisecond, CheckInterval: 50 * time.Millisecond, CheckMax: 2})
	c := dial(t, b)
	c.topic("t", 1)
	c.must(34, nil, []byte(`{"clientID":"c","producerDataSet":[{"groupName":"tx"}]}`))
	const props = "TRAN_MSG\x01true\x02PGROUP\x01tx\x02UNIQ_KEY\x01u\x02KEYS\x01k\x02"
	end := func(check answer, verdict, group string) int {
		return c.call(37, ext{
			"commitLogOffset": check.Fields["commitLogOffset"], "producerGroup": group, "commitOrRollback": verdict, "fromTransactionCheck": "true",
		}, nil).Code
	}
	c.send("t", "committed", props)
	check := c.pushed(39)
	if m := decode(t, check.Body)[0]; m.topic != "t" || m.body != "committed" || check.Fields["transactionId"] != "u" {
		t.Errorf("asked about %+v, %v", m, check.Fields)
	}
	if code := end(check, "8", "another"); code == 0 {
		t.Error("another group could commit")
	}
	if code := end(check, "8", "tx"); code != 0 {
		t.Errorf("commit: code %d", code)
	}
	if code := end(check, "8", "tx"); code == 0 {
		t.Error("committed twice")
	}
	c.send("t", "never answered", props)
	if diff := cmp.Diff([]string{"committed"}, c.bodies("t", 1)); diff != "" {
		t.Error(diff)
	}
	testkit.EventuallyTrue(t, 10*time.Second, "the broker gives the transaction up", func() bool {
		return c.call(105, ext{"topic": "TRANS_CHECK_MAX_TIME_TOPIC"}, nil).Code == 0
	})
	if got := c.bodies("TRANS_CHECK_MAX_TIME_TOPIC", 1); got[0] != "never answered" {
		t.Errorf("parked %q", got)
	}
}

// Close ends everything that was started, also held pulls and messages that are still to come.
func TestBroker_Close_leavesNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	b, err := devbroker.Start(devbroker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, b)
	c.topic("t", 1)
	c.send("t", "later", "DELAY\x0118\x02")
	c.post(11, 0, ext{"topic": "t", "queueId": "0", "queueOffset": "0", "sysFlag": "2", "suspendTimeoutMillis": "20000"}, nil)
	c.must(206, nil, nil) // by now the pull is held
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// The client library of another test may start a goroutine at any time: ours are looked for.
	if err := goleak.Find(before); err != nil && strings.Contains(err.Error(), "devbroker.(*") {
		t.Error(err)
	}
}

// What was acknowledged is there after Kill and Restart, and the offsets with it.
func TestBroker_Restart(t *testing.T) {
	t.Parallel()
	b := start(t, devbroker.Options{})
	c := dial(t, b)
	c.topic("t", 1)
	c.send("t", "kept", "")
	c.must(15, ext{"consumerGroup": "g", "topic": "t", "queueId": "0", "commitOffset": "1"}, nil)
	if err := b.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.next(5 * time.Second); ok {
		t.Error("the old connection lives")
	}
	c = dial(t, b)
	if diff := cmp.Diff([]string{"kept"}, c.bodies("t", 1)); diff != "" {
		t.Error(diff)
	}
	if got := c.must(14, ext{"consumerGroup": "g", "topic": "t", "queueId": "0"}, nil).Fields["offset"]; got != "1" {
		t.Errorf("offset %s, want 1", got)
	}
}

// What pkg/mq tells one store from another by: a topic's first message, and an offset that a group without members
// keeps.
func TestBroker_storeIdentity(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, devbroker.Options{}))
	c.topic("t", 1)
	at := ext{"topic": "t", "queueId": "0"}
	if got := c.must(32, at, nil).Fields["timestamp"]; got != "-1" {
		t.Errorf("an empty queue's first message was stored at %s, want -1", got)
	}
	before := time.Now().UnixMilli()
	c.send("t", "first", "")
	first := c.must(32, at, nil).Fields["timestamp"]
	if n, err := strconv.ParseInt(first, 10, 64); err != nil || n < before || n > time.Now().UnixMilli() {
		t.Errorf("the first message was stored at %s (%v), after %d", first, err, before)
	}
	c.send("t", "second", "")
	if got := c.must(32, at, nil).Fields["timestamp"]; got != first {
		t.Errorf("the first message was stored at %s, before it was %s", got, first)
	}
	c.must(200, nil, []byte(`{"groupName":"g"}`))
	c.must(15, ext{"consumerGroup": "g", "topic": "t", "queueId": "0", "commitOffset": first}, nil)
	if got := c.must(14, ext{"consumerGroup": "g", "topic": "t", "queueId": "0"}, nil).Fields["offset"]; got != first {
		t.Errorf("offset %s, want %s", got, first)
	}
	if got := string(c.must(351, ext{"topic": "t"}, nil).Body); !strings.Contains(got, `"writeQueueNums":1`) {
		t.Errorf("settings of the topic: %s", got)
	}
}

func TestBroker_retain(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, devbroker.Options{Retain: 10}))
	c.topic("t", 1)
	for i := range 12 {
		c.send("t", strconv.Itoa(i), "")
	}
	a, _ := c.pull("t", 0, 0)
	if a.Code != 21 || a.Fields["nextBeginOffset"] != "2" {
		t.Errorf("code %d, go on at %s; want 21 and 2", a.Code, a.Fields["nextBeginOffset"])
	}
	if _, got := c.pull("t", 2, 0); len(got) != 10 || got[0].body != "2" || got[0].offset != 2 {
		t.Errorf("got %+v", got)
	}
}
