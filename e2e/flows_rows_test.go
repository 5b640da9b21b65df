package e2e_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/orderapi"
)

// flowRow is a flow, and in what it differs from the others. Whoever adds a flow adds a row.
type flowRow struct {
	name  string
	takes int // the first answer to a request: 201 when the order is decided, 202 before that

	// What becomes of an order, and what its buyer gets first.
	inventoryAway expectation // that comes while inventory-srv is away
	brokerAway    expectation // that comes while the broker is away
	walletAway    expectation // that comes while the wallet is away
	diskLost      expectation // that comes while inventory-srv is away; then the broker loses its disk
	replySent     string      // what inventory's database counts once it has sent the answer; "": it is sent with the call
	replyLost     expectation // for which inventory has reserved; order-srv does not receive the answer
	inFlight      string      // how an order ends that is PENDING when both replicas of order-srv are killed
	decided       string      // how it may end as well, if the killed process had decided it; "": it had not

	slow    func(x *faults) // delays the decisions of orders until the faults are healed
	noReply func(x *faults) // loses inventory's answers until the faults are healed

	topic, group string            // of the messages by which the flow gets or gives back its stock
	lacks        map[string]string // the cases that the flow does not have, and why
}

// expectation is the first answer to a request and the status in which its order ends.
type expectation struct {
	answer int
	ends   string
}

// The cases, in the order of the table.
const (
	caseSellOut   = "sell-out"
	caseExact     = "exact sell-out"
	caseRepeats   = "duplicate requests at both replicas"
	caseBadInput  = "bad input"
	caseInventory = "inventory away and back"
	caseWallet    = "wallet away and back"
	caseBroker    = "broker away and back"
	caseDisk      = "broker back without its disk"
	caseReply     = "answer of inventory lost"
	caseRace      = "payment racing expiry"
	caseRestart   = "in flight while ORDER_FLOW changes"
	casePoison    = "poison message parked and sent again"
	caseBurst     = "ten times the workers' pace"
)

func flowRows() []flowRow {
	refused := expectation{http.StatusServiceUnavailable, orderapi.StatusRejected}
	placed := expectation{http.StatusCreated, orderapi.StatusPlaced}
	later := expectation{http.StatusAccepted, orderapi.StatusPlaced}
	noQueue := "the caller waits for its decision, so admission bounds what is in flight"
	return []flowRow{
		{
			name: "tx-message", takes: http.StatusCreated,
			inventoryAway: refused, walletAway: placed, brokerAway: refused, diskLost: refused,
			replyLost: expectation{http.StatusAccepted, orderapi.StatusAbandoned}, // by the check-back
			inFlight:  orderapi.StatusAbandoned,                                   // by the check-back or the sweeper
			slow:      slowWire, noReply: loseReservations,
			topic: orderapi.TopicStockRelease, group: inventoryapi.GroupRelease,
			lacks: map[string]string{caseBurst: noQueue},
		},
		{
			name: "outbox", takes: http.StatusAccepted,
			inventoryAway: later, walletAway: later, brokerAway: later,
			diskLost:  expectation{http.StatusAccepted, orderapi.StatusAbandoned}, // by the sweeper: its command is lost
			replyLost: expectation{http.StatusAccepted, orderapi.StatusAbandoned}, // as no answer comes in time
			inFlight:  orderapi.StatusPlaced,                                      // the other flow's process reads the answer
			replySent: "SELECT COUNT(*) FROM outbox WHERE event_id = CONCAT(?, ':reserved') AND sent_at IS NOT NULL",
			slow:      slowMessage(inventoryapi.TopicStockReserved), noReply: loseMessages(inventoryapi.TopicStockReserved),
			topic: orderapi.TopicStockReserve, group: inventoryapi.GroupReserve,
			lacks: map[string]string{caseBurst: "orders wait in a topic, which has no bound; QUEUE_TIMEOUT ends those that wait too long"},
		},
		{
			name: "queue", takes: http.StatusAccepted,
			inventoryAway: later, walletAway: later, brokerAway: refused,
			diskLost:  later,                 // the sweeper sends the message again
			replyLost: later,                 // the message comes again
			inFlight:  orderapi.StatusPlaced, // by the worker of the other flow's process
			slow:      slowMessage(orderapi.TopicOrderQueued), noReply: loseReservations,
			topic: orderapi.TopicOrderQueued, group: "order-queue",
		},
		{
			name: "tcc", takes: http.StatusCreated,
			inventoryAway: refused, walletAway: refused, diskLost: refused,
			brokerAway: placed,                                                     // no message before the order is PLACED
			replyLost:  expectation{http.StatusAccepted, orderapi.StatusAbandoned}, // by the sweeper
			inFlight:   orderapi.StatusAbandoned,                                   // its caller is gone; by the sweeper
			slow:       slowWire, noReply: loseReservations,
			topic: orderapi.TopicOrderEvents, group: inventoryapi.GroupEvents,
			lacks: map[string]string{caseBurst: noQueue},
		},
		{
			name: "xa", takes: http.StatusCreated,
			inventoryAway: refused, walletAway: placed, diskLost: refused,
			brokerAway: placed,                                                   // no message before the order is PLACED
			inFlight:   orderapi.StatusAbandoned, decided: orderapi.StatusPlaced, // both by the recovery
			slow: slowWire, noReply: loseReservations,
			topic: orderapi.TopicOrderEvents, group: inventoryapi.GroupEvents,
			lacks: map[string]string{
				caseBurst: noQueue,
				caseReply: "a lost answer ends in an abort, which the request decides itself: TestXA_refused; nothing is reserved before the decision",
			},
		},
	}
}

// namesAllFlows compares the rows with the flows that order-srv lists when it refuses an unknown one.
func namesAllFlows(t *testing.T) {
	t.Helper()
	dir, err := ordinary.build()
	if err != nil {
		t.Fatalf("build the services: %v", err)
	}
	cmd := exec.Command(filepath.Join(dir, "order-srv"))
	cmd.Env = append(os.Environ(), "ORDER_FLOW=none-of-them")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("order-srv runs with an unknown flow")
	}
	m := regexp.MustCompile(`ORDER_FLOW[^\n]* one of ([a-z, -]+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("order-srv does not list its flows:\n%s", out)
	}
	got := regexp.MustCompile(`, | or `).Split(string(m[1]), -1)
	var want []string
	for _, f := range flowRows() {
		want = append(want, f.name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("order-srv has the flows %v, and the suite has rows for %v", got, want)
	}
}
