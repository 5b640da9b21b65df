package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"holdfast/internal/dev/testkit"
	labshop "holdfast/internal/lab/shop"
	"holdfast/order-srv/check"
	"holdfast/order-srv/orderapi"
)

// poisonMessages has each flow meet two poison messages. The relay parks one, which is mended and sent again: its order
// ends as it should. A consumer gives up the other, which nobody can mend: it is sent again and given up again. Nothing
// else is held up meanwhile, and the audit names what was given up. This is a shop's last case.
func poisonMessages(t *testing.T, s *flowSuite, sh *shop, b crashBroker) {
	rows := flowRows()
	for _, row := range rows {
		t.Run(casePoison+"/"+row.name, func(t *testing.T) {
			f := &flowShop{shop: sh.on(t), flow: row}
			f.stock(f.sku("POISON"), 10)
			f.parkedIsSent(t)
		})
	}
	sh.audit(patience)
	for i, row := range rows {
		t.Run(casePoison+"/"+row.name+" given up", func(t *testing.T) {
			f := &flowShop{shop: sh.on(t), flow: row}
			f.givenUpAgain(i + 1)
			s.put(t, b, casePoison, row.name, "parked, mended, sent; given up, listed, given up again")
		})
	}
}

// parkedIsSent spoils the event of a payment in the outbox. The relay parks it while other orders go on.
func (f *flowShop) parkedIsSent(t *testing.T) {
	token := f.login(f.flow.name+"-poison", "buyer")
	sku := f.sku("POISON")
	orderNo := f.placed(token, "poison", sku).OrderNo
	f.spoil(orderapi.TopicOrderEvents, orderNo)
	f.must(http.StatusOK, http.MethodPost, "/v1/orders/"+orderNo+"/payment", token, "")
	f.listed(1, "outbox", orderNo)
	f.exec(f.ordersDB, "DROP TRIGGER poison")
	f.placed(token, "healthy", sku)
	if r := f.report(); len(r.Violations) != 1 || !strings.Contains(r.Violations[0].Text, "is parked") {
		t.Errorf("the audit finds %v, want the parked message", r.Violations)
	}
	f.exec(f.ordersDB, "UPDATE outbox SET topic = '"+orderapi.TopicOrderEvents+"' WHERE topic = 'poison'")
	if out := f.holdfast("dlq", "resend", "--source", "outbox"); !strings.Contains(out, "1 messages sent again") {
		t.Errorf("holdfast dlq resend: %s", out)
	}
	(&crashShop{shop: f.shop}).holds(orderNo, "confirmed")
	f.listed(0, "outbox", "")
}

// spoil has the messages on a topic that name an order written with a topic that does not exist. They have failed often
// enough to be parked after their next attempt.
func (f *flowShop) spoil(topic, orderNo string) {
	f.tb.Helper()
	f.exec(f.ordersDB, `CREATE TRIGGER poison BEFORE INSERT ON outbox FOR EACH ROW
		SET NEW.strikes = IF(NEW.topic = '`+topic+`' AND NEW.payload LIKE '%`+orderNo+`%', 9, NEW.strikes),
			NEW.topic = IF(NEW.strikes = 9, 'poison', NEW.topic)`)
}

// givenUpAgain sends a message that no consumer can read. The flow's consumer gives it up; so it does when the message
// is sent again. n is how many dead letters there are then.
func (f *flowShop) givenUpAgain(n int) {
	f.tb.Helper()
	id := "POISON-" + f.flow.name
	f.exec(f.ordersDB, `INSERT INTO outbox (event_id, topic, shard, shard_key, payload, created_at)
		VALUES ('`+id+`', '`+f.flow.topic+`', 1, '`+id+`', '{"orders":[]}', UTC_TIMESTAMP(6))`)
	first := f.listed(n, f.flow.group, id)
	again := 0 // flows may share a consumer group
	for _, l := range f.letters() {
		if l.Source == f.flow.group {
			again++
		}
	}
	if out := f.holdfast("dlq", "resend", "--source", f.flow.group); !strings.Contains(out, fmt.Sprintf("%d messages sent again", again)) {
		f.tb.Errorf("holdfast dlq resend: %s, want %d", out, again)
	}
	testkit.Eventually(f.tb, patience, "the message is given up again", func() error {
		for _, l := range f.letters() {
			if l.Source == f.flow.group && l.Key == id && l.ID != first.ID {
				return nil
			}
		}
		return fmt.Errorf("listed: %v", f.letters())
	})
	token := f.login(f.flow.name+"-poison", "buyer")
	f.placed(token, "beside", f.sku("POISON"))
	testkit.Eventually(f.tb, patience, "the audit names the dead letters", func() error {
		if r := f.report(); len(r.Violations) != n {
			return fmt.Errorf("it finds %v, want %d", r.Violations, n)
		}
		return nil
	})
}

// listed waits until n messages are listed, one of them from this source with this key, and returns that.
func (f *flowShop) listed(n int, source, key string) (found orderapi.DeadLetter) {
	f.tb.Helper()
	testkit.Eventually(f.tb, patience, fmt.Sprintf("%d messages are listed", n), func() error {
		all := f.letters()
		for _, l := range all {
			if l.Source == source && strings.Contains(l.Key+l.ID, key) {
				found = l
			}
		}
		if len(all) != n || n > 0 && found.ID == "" {
			return fmt.Errorf("listed: %v", all)
		}
		return nil
	})
	return found
}

func (f *flowShop) letters() []orderapi.DeadLetter {
	f.tb.Helper()
	var found orderapi.DeadLetters
	a := f.must(http.StatusOK, http.MethodGet, "/v1/admin/dead-letters", f.admin, "")
	if err := json.Unmarshal(a.Body, &found); err != nil {
		f.tb.Fatal(err)
	}
	return found.DeadLetters
}

// report is one audit, whatever it finds. It may take longer than a request.
func (f *flowShop) report() check.Report {
	f.tb.Helper()
	ctx, cancel := context.WithTimeout(f.tb.Context(), patience)
	defer cancel()
	client := labshop.Client{URL: "http://" + f.gateway.http, Token: f.admin}
	r, err := client.Audit(ctx, false, nil)
	if err != nil {
		f.tb.Fatalf("audit: %v", err)
	}
	return r
}
