package devbroker_test

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/pkg/mq/devbroker"
)

// Delays at their limits. A time in the past and the smallest one deliver at once.
func TestBroker_delayLimits(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, devbroker.Options{}))
	c.topic("t", 1)
	const most = 72 * 60 * 60 // seconds
	ahead := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).UnixMilli(), 10) }
	for _, tt := range []struct {
		props string
		want  int
		now   bool
	}{
		{"TIMER_DELAY_SEC\x01" + strconv.Itoa(most), 0, false},
		{"TIMER_DELAY_SEC\x01" + strconv.Itoa(most+1), 13, false},
		{"TIMER_DELAY_SEC\x019223372036854775807", 13, false}, // 1000 times that is negative
		{"TIMER_DELAY_SEC\x019223372036854775", 13, false},
		{"TIMER_DELAY_SEC\x01-1", 13, false},
		{"TIMER_DELAY_SEC\x01", 13, false},
		{"TIMER_DELAY_SEC\x011.5", 13, false},
		{"TIMER_DELAY_SEC\x010", 0, true},
		{"TIMER_DELAY_MS\x01" + strconv.Itoa(most*1000), 0, false},
		{"TIMER_DELAY_MS\x01" + strconv.Itoa(most*1000+1), 13, false},
		{"TIMER_DELIVER_MS\x01" + ahead(71*time.Hour), 0, false},
		{"TIMER_DELIVER_MS\x01" + ahead(73*time.Hour), 13, false},
		{"TIMER_DELIVER_MS\x019223372036854775807", 13, false},
		{"TIMER_DELIVER_MS\x01" + ahead(-time.Hour), 0, true},
		{"DELAY\x010", 0, true},
		{"DELAY\x01-1", 0, true},
		{"DELAY\x01x", 0, true},
		{"DELAY\x0199", 0, false},                          // the last level
		{"DELAY\x0118\x02TIMER_DELAY_SEC\x01-1", 0, false}, // a level wins
	} {
		before := len(decode(t, c.call(11, ext{"topic": "t", "queueId": "0", "queueOffset": "0"}, nil).Body))
		if a := c.send("t", tt.props, tt.props+"\x02"); a.Code != tt.want {
			t.Errorf("%q: code %d %s, want %d", tt.props, a.Code, a.Remark, tt.want)
		}
		after := len(decode(t, c.call(11, ext{"topic": "t", "queueId": "0", "queueOffset": "0"}, nil).Body))
		if (after > before) != tt.now {
			t.Errorf("%q: delivered at once %t, want %t", tt.props, after > before, tt.now)
		}
	}
}

// A send with short field names is the same as one with long ones, and numbers that are none are refused.
func TestBroker_sendFields(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, devbroker.Options{}))
	c.topic("t", 1)
	c.must(10, ext{"topic": "t", "queueId": "0", "sysFlag": "1", "reconsumeTimes": "3", "properties": "A\x01a\x02"}, []byte("long"))
	c.must(310, ext{"b": "t", "e": "0", "f": "1", "j": "3", "i": "A\x01a\x02"}, []byte("short"))
	_, got := c.pull("t", 0, 0)
	if len(got) != 2 || got[0].body != "long" || got[1].body != "short" {
		t.Fatalf("stored %+v", got)
	}
	for _, m := range got {
		if m.sysFlag != 1 || m.attempts != 3 || !strings.HasPrefix(m.props, "A\x01a\x02UNIQ_KEY\x01") {
			t.Errorf("stored %+v", m)
		}
	}
	for _, field := range []string{"queueId", "sysFlag", "bornTimestamp", "flag", "reconsumeTimes", "maxReconsumeTimes"} {
		for _, value := range []string{"x", "1.0", " 1", "9223372036854775808"} {
			fields := ext{"topic": "t", field: value}
			if a := c.call(10, fields, []byte("x")); a.Code != 1 {
				t.Errorf("%s %q: code %d, want 1", field, value, a.Code)
			}
		}
	}
	if a := c.call(10, ext{"topic": "t", "queueId": "2147483648"}, []byte("x")); a.Code != 1 {
		t.Errorf("a queue of 33 bits: code %d, want 1", a.Code)
	}
}

// Properties that are no pairs are left out, and the rest of them arrives.
func TestBroker_damagedProperties(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, devbroker.Options{}))
	c.topic("t", 1)
	damaged := []string{"\x02\x02", "A", "A\x02B\x01b\x02", "\x01x\x02B\x01b", "A\x01a\x01a\x02B\x01b\x02", "B\x01old\x02B\x01b\x02", "B\x01b\x02A\x01"}
	for _, props := range damaged {
		if a := c.send("t", "x", "UNIQ_KEY\x01u\x02"+props); a.Code != 0 {
			t.Errorf("%q: code %d", props, a.Code)
		}
	}
	_, got := c.pull("t", 0, 0)
	var stored []string
	for _, m := range got {
		stored = append(stored, strings.TrimSuffix(m.props, "UNIQ_KEY\x01u\x02"))
	}
	want := []string{"", "", "B\x01b\x02", "B\x01b\x02", "B\x01b\x02", "B\x01b\x02", "A\x01\x02B\x01b\x02"}
	if diff := cmp.Diff(want, stored); diff != "" {
		t.Errorf("properties of each message (-want +got):\n%s", diff)
	}
}

// inner is a message of a batch. Its lengths may lie.
func inner(body, props string, bodyLength, propsLength int) string {
	b := make([]byte, 16)                                    // size, magic, CRC, flag: not read
	b = binary.BigEndian.AppendUint32(b, uint32(bodyLength)) //nolint:gosec // bits are bits.
	b = append(b, body...)
	b = binary.BigEndian.AppendUint16(b, uint16(propsLength)) //nolint:gosec // bits are bits.
	return string(append(b, props...))
}

// A batch is stored as a whole or not at all.
func TestBroker_damagedBatch(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, devbroker.Options{}))
	c.topic("t", 1)
	good := inner("a", "A\x01a\x02", 1, 4)
	for name, batch := range map[string]string{
		"empty":                     "",
		"a byte too many":           good + "x",
		"a byte too few":            good + good[:len(good)-1],
		"body longer than the rest": good + inner("a", "", 2, 0),
		"a negative body":           good + inner("a", "", -1, 0),
		"properties too long":       good + inner("a", "A", 1, 2),
		"properties of 64 KiB":      good + inner("a", "A", 1, 65_535),
		"more than is allowed":      good + inner("a", strings.Repeat("x", 32_001), 1, 32_001),
	} {
		if a := c.call(320, ext{"b": "t", "e": "0", "m": "true"}, []byte(batch)); a.Code != 13 {
			t.Errorf("%s: code %d, want 13", name, a.Code)
		}
	}
	if a := c.call(320, ext{"b": "%RETRY%g", "e": "0", "m": "true"}, []byte(good)); a.Code != 13 {
		t.Errorf("to a retry topic: code %d, want 13", a.Code)
	}
	if a, _ := c.pull("t", 0, 0); a.Code != 19 {
		t.Errorf("something of a damaged batch was stored: code %d", a.Code)
	}
}

// A message comes back in its group's retry topic with the place that it was first sent to, and later each time.
func TestBroker_sendBack(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, devbroker.Options{}))
	c.topic("t", 1)
	c.send("t", "x", "TIMER_DELAY_MS\x010\x02KEYS\x01k\x02")
	_, first := c.pull("t", 0, 0)
	back := func(group string, pos int64, level string) answer {
		return c.call(36, ext{"group": group, "offset": strconv.FormatInt(pos, 10), "delayLevel": level}, nil)
	}
	for name, group := range map[string]string{"empty": "", "too long": strings.Repeat("g", 128)} {
		if a := back(group, first[0].pos, "0"); a.Code != 1 {
			t.Errorf("a group whose name is %s: code %d, want 1", name, a.Code)
		}
	}
	if a := back("g", first[0].pos, "-1"); a.Code != 0 {
		t.Fatalf("code %d %s", a.Code, a.Remark)
	}
	_, dead := c.pull("%DLQ%g", 0, 0)
	if len(dead) != 1 || dead[0].attempts != 1 || !strings.Contains(dead[0].props, "RETRY_TOPIC\x01t\x02") || strings.Contains(dead[0].props, "TIMER") {
		t.Fatalf("given up as %+v", dead)
	}
	if a := back("h", dead[0].pos, "-1"); a.Code != 0 { // a dead letter whose handler gives it up, too
		t.Fatalf("code %d %s", a.Code, a.Remark)
	}
	_, again := c.pull("%DLQ%h", 0, 0)
	origin := fmt.Sprintf("%016X\x02", first[0].pos)
	if len(again) != 1 || again[0].attempts != 2 || !strings.Contains(again[0].props, "RETRY_TOPIC\x01t\x02") || !strings.Contains(again[0].props, origin) {
		t.Errorf("given up again as %+v, want its first topic and its first identifier", again)
	}
}

// A half message with a time of its own is not ended by a producer that comes too late: only the check decides.
func TestBroker_immunity(t *testing.T) {
	t.Parallel()
	b := start(t, devbroker.Options{TransactionTimeout: time.Hour, CheckInterval: 20 * time.Millisecond})
	c := dial(t, b)
	c.topic("t", 1)
	c.must(34, nil, []byte(`{"clientID":"c","producerDataSet":[{"groupName":"tx"}]}`))
	c.send("t", "half", "TRAN_MSG\x01true\x02PGROUP\x01tx\x02UNIQ_KEY\x01u\x02CHECK_IMMUNITY_TIME_IN_SECONDS\x011\x02")
	if n := b.OpenTransactions(); n != 1 {
		t.Errorf("%d open transactions, want 1", n)
	}
	check := c.pushed(39) // after a second, although transactions without a time of their own wait for an hour
	end := ext{"commitLogOffset": check.Fields["commitLogOffset"], "producerGroup": "tx", "commitOrRollback": "8"}
	if a := c.call(37, end, nil); a.Code != 604 {
		t.Errorf("a late end: code %d, want 604", a.Code)
	}
	end["fromTransactionCheck"], end["commitOrRollback"] = "true", "5"
	if a := c.call(37, end, nil); a.Code != 1 || b.OpenTransactions() != 1 {
		t.Errorf("a verdict that is none: code %d, %d open transactions", a.Code, b.OpenTransactions())
	}
	end["commitOrRollback"] = "12"
	c.must(37, end, nil)
	if a, _ := c.pull("t", 0, 0); a.Code != 19 || b.OpenTransactions() != 0 || b.Questions() != 1 {
		t.Errorf("after a rollback: code %d, %d open transactions, %d questions; want 19, 0, 1", a.Code, b.OpenTransactions(), b.Questions())
	}
}
