package e2e_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/testkit"
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

// flowGroup is a number of cases that share a shop.
type flowGroup struct {
	name  string
	cases []string
	run   func(t *testing.T, s *flowSuite, b crashBroker)

	devOnly string // why it cannot run on RocketMQ
	onAll   bool   // on RocketMQ only with make flows-all
}

func flowGroups() []flowGroup {
	return []flowGroup{
		{name: "calm", cases: []string{caseSellOut, caseExact, caseRepeats, caseBadInput}, run: calmCases, onAll: true},
		{name: "outages", cases: []string{caseInventory, caseWallet, caseBroker, caseDisk, caseRace, casePoison}, run: outageCases},
		{
			name: "in flight", cases: []string{caseReply, caseRestart}, run: inFlightCases,
			devOnly: "it can be told to lose and to delay messages",
		},
		{name: "burst", cases: []string{caseBurst}, run: burstCases, onAll: true},
	}
}

// TestFlows runs the same cases for every flow and prints a table. The cases of a group share a shop, in which all
// flows place their orders at the same time: each request names its flow. The shops have two replicas of each service;
// that of the outages has one, so that what is killed is away. The crash points of the flows are in TestCrashPoints.
//
// HOLDFAST_FLOWS=all, which make flows-all sets, runs all cases on both brokers, with more buyers.
func TestFlows(t *testing.T) {
	t.Parallel()
	stacktest.SkipIfShort(t, "MySQL, Redis and RocketMQ")
	s := &flowSuite{all: os.Getenv("HOLDFAST_FLOWS") == "all", cells: map[[3]string]string{}}
	namesAllFlows(t)
	brokers := []crashBroker{{name: "development broker"}}
	if os.Getenv("BROKER") != stack.BrokerDev {
		if err := stack.RocketMQAvailable(); err != nil {
			t.Logf("RocketMQ cannot run here, half of the table is missing: %v", err)
		} else {
			brokers = append(brokers, crashBroker{name: "RocketMQ", real: true})
		}
	}
	begin := time.Now()
	var running sync.WaitGroup
	for _, b := range brokers {
		running.Go(func() { // t.Parallel would run only as many at once as there are processors
			for _, g := range flowGroups() {
				if reason := s.skips(g, b); reason != "" {
					s.putAll(b, g.cases, reason)
					continue
				}
				t.Run(b.name+"/"+g.name, func(t *testing.T) {
					begin := time.Now()
					g.run(t, s, b)
					t.Logf("took %.0f s", time.Since(begin).Seconds())
				})
			}
		})
	}
	running.Wait()
	t.Logf("%s\nin %.0f s", s.table(t, brokers), time.Since(begin).Seconds())
}

// flowSuite collects the results.
type flowSuite struct {
	all bool

	mu    sync.Mutex
	cells map[[3]string]string // by broker, case and flow
}

// skips returns why a group does not run on a broker, or "".
func (s *flowSuite) skips(g flowGroup, b crashBroker) string {
	switch {
	case !b.real:
		return ""
	case g.devOnly != "":
		return "only on the development broker: " + g.devOnly
	case g.onAll && !s.all:
		return "with make flows-all"
	}
	return ""
}

// put records the result of a case for a flow.
func (s *flowSuite) put(t *testing.T, b crashBroker, name, flow, became string) {
	if t.Failed() {
		became = "FAILED"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cells[[3]string{b.name, name, flow}] = became
}

func (s *flowSuite) putAll(b crashBroker, cases []string, became string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range cases {
		for _, f := range flowRows() {
			s.cells[[3]string{b.name, c, f.name}] = became
		}
	}
}

// table returns a line for each case and flow on each broker. A case that a flow does not have says why.
func (s *flowSuite) table(t *testing.T, brokers []crashBroker) string {
	var b strings.Builder
	b.WriteString("what became of it\n")
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	for _, g := range flowGroups() {
		for _, c := range g.cases {
			for _, f := range flowRows() {
				for _, broker := range brokers {
					fmt.Fprintf(w, "| %s\t| %s\t| %s\t| %s\t|\n", c, f.name, broker.name, s.cell(t, broker, c, f))
				}
			}
		}
	}
	_ = w.Flush()
	return b.String()
}

func (s *flowSuite) cell(t *testing.T, b crashBroker, name string, f flowRow) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if why, lacks := f.lacks[name]; lacks {
		return "none: " + why
	}
	if became, ok := s.cells[[3]string{b.name, name, f.name}]; ok {
		return became
	}
	if !t.Failed() {
		return "not chosen by -run"
	}
	return "FAILED"
}

// size is n, or more in the full matrix.
func (s *flowSuite) size(n, full int) int {
	if s.all {
		return full
	}
	return n
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

// flowShop is a shop whose buyers order through one flow.
type flowShop struct {
	*shop
	flow flowRow
}

// each runs a case for all flows at the same time. run returns what became of it.
func (s *flowSuite) each(t *testing.T, sh *shop, b crashBroker, name string, run func(t *testing.T, f *flowShop) string) {
	var running sync.WaitGroup
	for _, row := range flowRows() {
		if _, lacks := row.lacks[name]; lacks {
			continue
		}
		running.Go(func() {
			t.Run(name+"/"+row.name, func(t *testing.T) {
				begin, became := time.Now(), "FAILED"
				defer func() { s.put(t, b, name, row.name, fmt.Sprintf("%s (%.0f s)", became, time.Since(begin).Seconds())) }()
				became = run(t, &flowShop{shop: sh.on(t), flow: row})
			})
		})
	}
	running.Wait()
	if t.Failed() {
		t.FailNow() // the shop is in an unknown state
	}
}

// one returns the body of a request for n units of a SKU.
func one(sku string, n int) string {
	return fmt.Sprintf(`{"items":[{"sku":%q,"quantity":%d}]}`, sku, n)
}

// order sends a request for an order once.
func (f *flowShop) order(token, key, body string, headers ...string) (answer, error) {
	headers = append([]string{"Idempotency-Key", key, "X-Order-Flow", f.flow.name}, headers...)
	return f.call(http.MethodPost, "/v1/orders", token, body, headers...)
}

// decisionTime bounds the wait for a decision on a busy machine.
const decisionTime = 2 * time.Minute

// decide is a correct client: it waits for the decision of its order and then repeats its request with the same key,
// which gets the stored answer. It retries what was refused for the moment. first is the status of the first answer
// that was none of these refusals.
func (f *flowShop) decide(token, key, body string, headers ...string) (first int, last answer, err error) {
	for end := time.Now().Add(decisionTime); time.Now().Before(end); {
		last, err = f.order(token, key, body, headers...)
		switch {
		case err != nil:
			return first, last, err
		case last.Status == http.StatusTooManyRequests:
			time.Sleep(time.Second) // its Retry-After
			continue
		case last.Status >= http.StatusInternalServerError: // a busy machine
			time.Sleep(200 * time.Millisecond)
			continue
		case first == 0:
			first = last.Status
		}
		if last.Status != http.StatusAccepted {
			return first, last, nil
		}
		if err := f.await(token, last.order(f.tb).OrderNo, time.Until(end)); err != nil {
			return first, last, err
		}
	}
	return first, last, errors.New("not decided in time")
}

// await waits with GET …?wait= until the order is no longer PENDING.
func (f *flowShop) await(token, orderNo string, within time.Duration) error {
	path := "/v1/orders/" + orderNo + "?wait=2s"
	for end := time.Now().Add(within); time.Now().Before(end); {
		a, err := f.call(http.MethodGet, path, token, "")
		switch {
		case err != nil:
			return err
		case a.Status == http.StatusOK && a.order(f.tb).Status != orderapi.StatusPending:
			return nil
		case a.Status != http.StatusOK:
			time.Sleep(100 * time.Millisecond)
		}
	}
	return fmt.Errorf("order %s is still %s", orderNo, f.status(orderNo))
}

// stock creates a product with units. It repeats a request that took too long on a busy machine; a repeat counts once.
func (f *flowShop) stock(sku string, units int) {
	f.tb.Helper()
	post := func(path, body string) {
		f.tb.Helper()
		testkit.Eventually(f.tb, patience, "POST "+path, func() error {
			a, err := f.call(http.MethodPost, path, f.admin, body)
			if err == nil && a.Status >= http.StatusMultipleChoices && a.code() != "product_exists" {
				err = fmt.Errorf("answered with %d %s", a.Status, a.Body)
			}
			return err
		})
	}
	post("/v1/admin/products", fmt.Sprintf(`{"sku":%q,"title":"Thing %s","price_cents":1250}`, sku, sku))
	post("/v1/admin/products/"+sku+"/inbound", fmt.Sprintf(`{"quantity":%d,"reference":"first-%s","reason":"test"}`, units, sku))
}

// placed orders one unit and requires success.
func (f *flowShop) placed(token, key, sku string) orderapi.Order {
	f.tb.Helper()
	_, a, err := f.decide(token, key, one(sku, 1))
	if err != nil || a.Status != http.StatusCreated {
		f.tb.Fatalf("place through %s: %v, %d %s", f.flow.name, err, a.Status, a.Body)
	}
	return a.order(f.tb)
}
