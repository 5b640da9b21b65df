package httpapi_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
)

// TestPlace_clientHangsUp has clients close their connections at a random moment after the request was sent. From the
// PENDING row on an order is decided all the same, and the server's shutdown waits for it.
func TestPlace_clientHangsUp(t *testing.T) {
	t.Parallel()
	const clients, enough, slow = 8, 24, 20 * time.Millisecond
	// The inventory's time is the subject.
	w := newWorld(t, ordertest.Then(func(string) { time.Sleep(slow) }, ordertest.OK))
	addr := strings.TrimPrefix(w.url, "http://")
	orders := func() []order.Order {
		all, err := w.store.After(t.Context(), "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	deadline := time.Now().Add(20 * time.Second)
	for round := 0; len(orders()) < enough && time.Now().Before(deadline); round++ { // some hang up before their insert
		var wg sync.WaitGroup
		for c := range clients {
			wg.Go(func() {
				if err := sendAndHangUp(addr, fmt.Sprintf("%d-%d", round, c), rand.N(2*slow)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	w.shutdown()
	statuses, all := map[order.Status]int{}, orders()
	for _, o := range all {
		statuses[o.Status]++
	}
	t.Logf("orders by status: %v", statuses)
	if statuses[order.Placed] != len(all) || len(all) < enough {
		t.Errorf("orders by status %v; want at least %d, all PLACED", statuses, enough)
	}
}

// sendAndHangUp sends a whole request for an order and closes the connection after wait, without reading an answer.
func sendAndHangUp(addr, key string, wait time.Duration) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	body := fmt.Sprintf(`{"idempotency_key":%q,"items":[{"sku":"A","quantity":1}]}`, key)
	_, err = fmt.Fprintf(conn, "POST /v1/orders HTTP/1.1\r\nHost: x\r\nX-User-ID: ann\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		len(body), body)
	time.Sleep(wait) // the moment is the subject
	return err
}
