package devbroker_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/pkg/mq/devbroker"
)

// Where a group goes on: at the first message as long as it is there, then where it says, also when it goes back.
func TestBroker_groupOffsets(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, devbroker.Options{Retain: 1}))
	c.topic("t", 2)
	at := func(group, queue string) ext { return ext{"consumerGroup": group, "topic": "t", "queueId": queue} }
	offset := func(fields ext) string {
		a := c.call(14, fields, nil)
		return fmt.Sprintf("%d %s", a.Code, a.Fields["offset"])
	}
	commit := func(fields ext, n string) int {
		fields["commitOffset"] = n
		return c.call(15, fields, nil).Code
	}
	expect := func(when, want, got string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: code and offset %q, want %q", when, got, want)
		}
	}
	expect("a new group", "0 0", offset(at("g", "0")))
	c.send("t", "1", "")
	c.send("t", "2", "") // removes the first
	expect("a new group whose first message is gone", "22 ", offset(at("g", "0")))
	for _, n := range []string{"2", "1"} {
		if code := commit(at("g", "0"), n); code != 0 {
			t.Errorf("commit of %s: code %d", n, code)
		}
		expect("after a commit", "0 "+n, offset(at("g", "0")))
	}
	expect("another group", "22 ", offset(at("h", "0")))
	expect("another queue", "0 0", offset(at("g", "1")))
	for _, queue := range []string{"2", "-1", "", "x", "4294967296"} {
		if code := commit(at("g", queue), "1"); code != 1 {
			t.Errorf("commit to queue %q: code %d, want 1", queue, code)
		}
	}
	for _, n := range []string{"", "one", "9223372036854775808"} {
		if code := commit(at("g", "0"), n); code != 1 {
			t.Errorf("commit of %q: code %d, want 1", n, code)
		}
	}
	expect("after refused commits", "0 1", offset(at("g", "0")))
}

// A queue's first and last offset, and the first message that was stored at or after a time.
func TestBroker_queueOffsets(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, devbroker.Options{Retain: 10}))
	c.topic("t", 1)
	offset := func(code int, timestamp int64) string {
		fields := ext{"topic": "t", "queueId": "0"}
		if timestamp != 0 {
			fields["timestamp"] = strconv.FormatInt(timestamp, 10)
		}
		return c.must(code, fields, nil).Fields["offset"]
	}
	if first, last := offset(31, 0), offset(30, 0); first != "0" || last != "0" {
		t.Errorf("an empty queue is from %s to %s, want 0 and 0", first, last)
	}
	for i := range 12 { // the first two go
		c.send("t", strconv.Itoa(i), "")
	}
	if first, last := offset(31, 0), offset(30, 0); first != "2" || last != "12" {
		t.Errorf("the queue is from %s to %s, want 2 and 12", first, last)
	}
	now := time.Now().UnixMilli()
	for name, tt := range map[string]struct {
		at   int64
		want string
	}{"long ago": {1, "2"}, "in an hour": {now + time.Hour.Milliseconds(), "12"}} {
		if got := offset(29, tt.at); got != tt.want {
			t.Errorf("the first message %s: offset %s, want %s", name, got, tt.want)
		}
	}
}

// A pull commits only when its flag says so, and a group reads at most what it asks for.
func TestBroker_pullCommits(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, devbroker.Options{}))
	c.topic("t", 1)
	for _, body := range []string{"1", "2", "3"} {
		c.send("t", body, "")
	}
	pull := func(sysFlag, commit, count string) []msg {
		a := c.must(11, ext{
			"consumerGroup": "g", "topic": "t", "queueId": "0", "queueOffset": "1", "maxMsgNums": count, "sysFlag": sysFlag, "commitOffset": commit,
		}, nil)
		if got := a.Fields; got["minOffset"] != "0" || got["maxOffset"] != "3" {
			t.Errorf("the queue is from %s to %s, want 0 and 3", got["minOffset"], got["maxOffset"])
		}
		return decode(t, a.Body)
	}
	for _, tt := range []struct {
		sysFlag, commit, count string
		messages               int
		want                   string // the group's offset afterwards
	}{
		{"0", "2", "1", 1, "0"},
		{"1", "2", "32", 2, "2"},
		{"1", "-1", "-5", 1, "2"}, // at least one message
		{"1", "1", "9999999", 2, "1"},
	} {
		if got := pull(tt.sysFlag, tt.commit, tt.count); len(got) != tt.messages || got[0].offset != 1 {
			t.Errorf("%+v: pulled %+v", tt, got)
		}
		if got := c.must(14, ext{"consumerGroup": "g", "topic": "t", "queueId": "0"}, nil).Fields["offset"]; got != tt.want {
			t.Errorf("%+v: the group is at %s", tt, got)
		}
	}
}

// One answer does not grow with the messages: it ends before 256 KiB, but a larger message comes alone.
func TestBroker_pullBytes(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, devbroker.Options{}))
	c.topic("t", 1)
	for _, kib := range []int{300, 100, 100, 100} {
		c.send("t", strings.Repeat("x", kib<<10), "")
	}
	var sizes [][]int
	for from := 0; from < 4; {
		_, messages := c.pull("t", from, 0)
		var kib []int
		for _, m := range messages {
			kib = append(kib, len(m.body)>>10)
		}
		if len(kib) == 0 {
			t.Fatalf("nothing came from offset %d on", from)
		}
		sizes, from = append(sizes, kib), from+len(kib)
	}
	if diff := cmp.Diff([][]int{{300}, {100, 100}, {100}}, sizes); diff != "" {
		t.Errorf("KiB of the messages of each answer (-want +got):\n%s", diff)
	}
}

// A topic that loses queues keeps their messages for readers; a topic that is deleted takes all with it, and the pulls
// that are held at it are answered.
func TestBroker_topicChanges(t *testing.T) {
	t.Parallel()
	b := start(t, devbroker.Options{})
	c, held := dial(t, b), dial(t, b)
	c.topic("t", 2)
	c.must(10, ext{"topic": "t", "queueId": "1"}, []byte("in queue 1"))
	sent := decode(t, c.must(11, ext{"topic": "t", "queueId": "1", "queueOffset": "0"}, nil).Body)
	c.topic("t", 1)
	if a := c.call(10, ext{"topic": "t", "queueId": "1"}, []byte("x")); a.Code != 1 {
		t.Errorf("a send to a queue that is closed: code %d, want 1", a.Code)
	}
	if got := decode(t, c.must(11, ext{"topic": "t", "queueId": "1", "queueOffset": "0"}, nil).Body); len(got) != 1 || got[0].body != "in queue 1" {
		t.Errorf("the closed queue has %+v", got)
	}
	if got := string(c.must(105, ext{"topic": "t"}, nil).Body); !strings.Contains(got, `"readQueueNums":2,"writeQueueNums":1`) {
		t.Errorf("route %s", got)
	}
	for range 4 { // without a queue the broker chooses one that is open
		if got := c.must(10, ext{"topic": "t"}, []byte("x")).Fields["queueId"]; got != "0" {
			t.Errorf("sent to queue %s, want 0", got)
		}
	}
	c.must(15, ext{"consumerGroup": "g", "topic": "t", "queueId": "0", "commitOffset": "4"}, nil)
	pull := held.post(11, 0, ext{"topic": "t", "queueId": "0", "queueOffset": "4", "sysFlag": "2", "suspendTimeoutMillis": "60000"}, nil)
	held.must(206, nil, nil) // by now the pull is held
	c.must(215, ext{"topic": "t"}, nil)
	if a := held.wait(pull); a.Code != 17 {
		t.Errorf("the held pull: code %d, want 17", a.Code)
	}
	if a := c.call(36, ext{"group": "g", "offset": strconv.FormatInt(sent[0].pos, 10)}, nil); a.Code != 1 {
		t.Errorf("a message that is deleted can be sent back: code %d", a.Code)
	}
	c.topic("t", 1)
	if got := c.must(14, ext{"consumerGroup": "g", "topic": "t", "queueId": "0"}, nil).Fields["offset"]; got != "0" {
		t.Errorf("in the new topic the group is at %s, want 0", got)
	}
	c.must(215, ext{"topic": "none"}, nil) // deleting twice is no error
}
