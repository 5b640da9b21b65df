package orderapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/orderapi"
	"holdfast/order-srv/orderapi/apitest"
	"holdfast/pkg/batch"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/rest"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// replica is a fake order-srv. It counts the requests for orders by their keys, also those that come in a batch.
type replica struct {
	url   string
	place func(w http.ResponseWriter, r *http.Request, key string)

	mu      sync.Mutex
	asked   map[string]int // by key
	batches int
	open    int // requests for orders under way
}

func newReplica(t *testing.T, place func(w http.ResponseWriter, r *http.Request, key string)) *replica {
	t.Helper()
	one := &replica{place: place, asked: map[string]int{}}
	orders := apitest.Batches(http.HandlerFunc(one.order))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/orders/batch" {
			one.mu.Lock()
			one.batches++
			one.mu.Unlock()
		}
		orders.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	one.url = s.URL
	return one
}

func (one *replica) order(w http.ResponseWriter, r *http.Request) {
	var in orderapi.PlaceRequest
	body, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(body, &in); err != nil {
		panic(err)
	}
	one.mu.Lock()
	one.asked[in.IdempotencyKey]++
	one.open++
	one.mu.Unlock()
	one.place(w, r, in.IdempotencyKey)
	one.mu.Lock()
	one.open--
	one.mu.Unlock()
}

func (one *replica) times(key string) int {
	one.mu.Lock()
	defer one.mu.Unlock()
	return one.asked[key]
}

// placed answers with an order that names the user and the key.
func placed(w http.ResponseWriter, r *http.Request, key string) {
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(orderapi.Order{OrderNo: r.Header.Get(header.UserID) + "-" + key, Status: orderapi.StatusPlaced})
}

func refused(w http.ResponseWriter, f *fault.Error) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(web.Status(f.Kind))
	_ = json.NewEncoder(w).Encode(fault.ToProblem(f))
}

func newGatherer(t *testing.T, timeout time.Duration, urls ...string) *orderapi.Gatherer {
	t.Helper()
	r, err := rest.New(rest.Config{Name: "order", URLs: urls, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	// A call that is kept for long is kept.
	g := orderapi.NewGatherer(orderapi.NewClient(r), timeout, batch.WithOverlap(0))
	t.Cleanup(func() { _ = g.Close(); r.Close() })
	return g
}

// outcome is what a caller got.
type outcome struct {
	order  orderapi.Order
	placed bool
	err    error
}

// rush has the gatherer place orders in one call: it keeps all calls under way until the orders wait.
type rush struct {
	t        *testing.T
	g        *orderapi.Gatherer
	b        *blocker
	held     sync.WaitGroup
	running  sync.WaitGroup
	mu       sync.Mutex
	outcomes map[string]outcome // by key
}

// newRush returns when all calls are under way.
func newRush(t *testing.T, g *orderapi.Gatherer, b *blocker) *rush {
	t.Helper()
	r := &rush{t: t, g: g, b: b, outcomes: map[string]outcome{}}
	t.Cleanup(b.release) // or a test that fails leaves them waiting
	for n := range orderapi.GatherCalls {
		r.held.Go(func() {
			if _, _, err := g.Place(t.Context(), "holder", "buyer", request(fmt.Sprintf("%s%d", holdPrefix, n))); err != nil {
				t.Errorf("an order that holds a call: %v", err)
			}
		})
		testkit.EventuallyTrue(t, 10*time.Second, "the call is under way", func() bool { return b.holding() == n+1 })
	}
	return r
}

// order places an order of user-<key> and returns when it waits for a call.
func (r *rush) order(ctx context.Context, key string) {
	r.t.Helper()
	before := orderapi.Queued(r.g)
	r.running.Go(func() {
		o, isPlaced, err := r.g.Place(telemetry.WithRequestID(ctx, "id-"+key), "user-"+key, "buyer", request(key))
		r.mu.Lock()
		defer r.mu.Unlock()
		r.outcomes[key] = outcome{o, isPlaced, err}
	})
	testkit.EventuallyTrue(r.t, 10*time.Second, "the order waits", func() bool { return orderapi.Queued(r.g) == before+1 })
}

// end lets the calls go on, and returns what the callers got.
func (r *rush) end() map[string]outcome {
	r.b.release()
	r.running.Wait()
	r.held.Wait()
	return r.outcomes
}

// together places an order for each key in one call.
func together(t *testing.T, g *orderapi.Gatherer, b *blocker, keys ...string) map[string]outcome {
	t.Helper()
	r := newRush(t, g, b)
	for _, key := range keys {
		r.order(t.Context(), key)
	}
	return r.end()
}

const holdPrefix = "hold-"

func request(key string) orderapi.PlaceRequest {
	return orderapi.PlaceRequest{IdempotencyKey: key, Items: []orderapi.PlaceItem{{SKU: "A", Quantity: 1}}}
}

// blocker is a handler that has orders whose key begins with holdPrefix wait until release.
type blocker struct {
	next     func(w http.ResponseWriter, r *http.Request, key string)
	released chan struct{}
	release  func()

	mu sync.Mutex
	n  int
}

func newBlocker(next func(w http.ResponseWriter, r *http.Request, key string)) *blocker {
	b := &blocker{next: next, released: make(chan struct{})}
	b.release = sync.OnceFunc(func() { close(b.released) })
	return b
}

func (b *blocker) place(w http.ResponseWriter, r *http.Request, key string) {
	if strings.HasPrefix(key, holdPrefix) {
		b.mu.Lock()
		b.n++
		b.mu.Unlock()
		<-b.released
		placed(w, r, key)
		return
	}
	b.next(w, r, key)
}

func (b *blocker) holding() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n
}

func names(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("k%d", i)
	}
	return keys
}

// TestGatherer_alone: a lone order goes at once, as it goes without a gatherer.
func TestGatherer_alone(t *testing.T) {
	t.Parallel()
	one := newReplica(t, placed)
	g := newGatherer(t, 5*time.Second, one.url)
	o, isPlaced, err := g.Place(t.Context(), "ann", "buyer", request("k"))
	if err != nil || !isPlaced || o.OrderNo != "ann-k" {
		t.Errorf("got %+v, %v, %v", o, isPlaced, err)
	}
	if one.batches != 0 {
		t.Error("it came in a batch")
	}
}

// TestGatherer_together: orders that come while calls are under way share the next one. Each has its own user, request
// id, deadline and answer, and the refusal of one is not that of another.
func TestGatherer_together(t *testing.T) {
	t.Parallel()
	b := newBlocker(func(w http.ResponseWriter, r *http.Request, key string) {
		if r.Header.Get(header.UserID) != "user-"+key || r.Header.Get(header.RequestID) != "id-"+key || r.Header.Get(header.UserRole) != "buyer" {
			t.Errorf("the order %s came with the headers %v", key, r.Header)
		}
		switch key {
		case "k1":
			refused(w, inventoryapi.ErrOutOfStock.With("order_no", "user-"+key))
		case "k3":
			w.WriteHeader(http.StatusAccepted)
			_ = json.NewEncoder(w).Encode(orderapi.Order{OrderNo: "user-" + key, Status: orderapi.StatusPending})
		case "k5":
			refused(w, fault.ErrTimeout)
		default:
			placed(w, r, key)
		}
	})
	one := newReplica(t, b.place)
	g := newGatherer(t, 20*time.Second, one.url)
	keys := names(8)
	for key, got := range together(t, g, b, keys...) {
		switch key {
		case "k1":
			if f := fault.From(got.err); !errors.Is(got.err, inventoryapi.ErrOutOfStock) || f.Details["order_no"] != "user-k1" {
				t.Errorf("%s: got %+v", key, got)
			}
		case "k3":
			if got.err != nil || got.placed || got.order.OrderNo != "user-k3" {
				t.Errorf("%s: got %+v", key, got)
			}
		case "k5":
			if !errors.Is(got.err, fault.ErrTimeout) || !fault.Ambiguous(got.err) {
				t.Errorf("%s: got %+v", key, got)
			}
		default:
			if got.err != nil || !got.placed || got.order.OrderNo != "user-"+key+"-"+key {
				t.Errorf("%s: got %+v", key, got)
			}
		}
	}
	for _, key := range keys {
		if n := one.times(key); n != 1 {
			t.Errorf("%s came %d times", key, n)
		}
	}
	if one.batches != 1 {
		t.Errorf("%d orders came in %d batches", len(keys), one.batches)
	}
}

// TestGatherer_slow: an order that waits does not delay the answers to the others of its call.
func TestGatherer_slow(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	b := newBlocker(func(w http.ResponseWriter, r *http.Request, key string) {
		if key == "k1" {
			<-end
		}
		placed(w, r, key)
	})
	one := newReplica(t, b.place)
	r := newRush(t, newGatherer(t, 20*time.Second, one.url), b)
	for _, key := range names(3) {
		r.order(t.Context(), key)
	}
	done := make(chan map[string]outcome)
	go func() { done <- r.end() }()
	testkit.EventuallyTrue(t, 10*time.Second, "the others are answered", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.outcomes) == 2
	})
	close(end)
	for key, got := range <-done {
		if got.err != nil {
			t.Errorf("%s: %v", key, got.err)
		}
	}
}

// TestGatherer_deadline: a caller whose time ends gets its answer then, and the others theirs. One whose order still
// waited for a call knows that it was not executed.
func TestGatherer_deadline(t *testing.T) {
	t.Parallel()
	never := make(chan struct{})
	b := newBlocker(func(w http.ResponseWriter, r *http.Request, key string) {
		if key == "k0" {
			<-never
		}
		placed(w, r, key)
	})
	one := newReplica(t, b.place)
	t.Cleanup(func() { close(never) }) // before the server's Close, which waits for its requests
	g := newGatherer(t, 2*time.Second, one.url)
	got := together(t, g, b, "k0", "k1")
	if f := fault.From(got["k0"].err); f == nil || f.Code != "order_timeout" || !f.Ambiguous {
		t.Errorf("an order without an answer: got %+v", got["k0"])
	}
	if got["k1"].err != nil {
		t.Errorf("the other order of the call: %v", got["k1"].err)
	}
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if _, _, err := g.Place(ctx, "ann", "buyer", request("late")); fault.From(err).Code != "order_timeout" || fault.Ambiguous(err) || one.times("late") != 0 {
		t.Errorf("an order that came too late: got %v, and %d requests", err, one.times("late"))
	}
}

// TestGatherer_hangUp: the order of a caller that gives up while it waits for a call is not sent. The others get their
// answers.
func TestGatherer_hangUp(t *testing.T) {
	t.Parallel()
	b := newBlocker(placed)
	one := newReplica(t, b.place)
	r := newRush(t, newGatherer(t, 20*time.Second, one.url), b)
	ctx, hangUp := context.WithCancel(t.Context())
	r.order(t.Context(), "k0")
	r.order(ctx, "gone")
	r.order(t.Context(), "k1")
	hangUp()
	testkit.EventuallyTrue(t, 10*time.Second, "its order is taken back", func() bool { return orderapi.Queued(r.g) == 2 })
	got := r.end()
	if f := fault.From(got["gone"].err); f == nil || f.Code != fault.ErrCanceled.Code || f.Ambiguous || one.times("gone") != 0 {
		t.Errorf("the one that hung up: %+v after %d requests", got["gone"], one.times("gone"))
	}
	if got["k0"].err != nil || got["k1"].err != nil {
		t.Errorf("the others: %+v", got)
	}
}

// TestGatherer_replicaDies: a replica dies after it has answered some orders of a batch. Those have their answers; of
// the others the outcome is unknown, and none of them is sent to another replica.
func TestGatherer_replicaDies(t *testing.T) {
	t.Parallel()
	b := newBlocker(placed)
	dying := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/orders/batch" {
			apitest.Batches(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.place(w, r, keyOf(r)) })).ServeHTTP(w, r)
			return
		}
		var in orderapi.PlaceBatch
		_ = json.NewDecoder(r.Body).Decode(&in)
		for n, o := range in.Orders[:2] {
			line := orderapi.BatchAnswer{Order: n, UserID: o.UserID, Status: 201, Body: json.RawMessage(`{"order_no":"O","status":"PLACED"}`)}
			_, _ = w.Write(line.AppendLine(nil))
		}
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(dying.Close)
	g := newGatherer(t, 20*time.Second, dying.URL)
	answered, unknown := 0, 0
	for key, got := range together(t, g, b, names(6)...) {
		f := fault.From(got.err)
		switch {
		case got.err == nil:
			answered++
		case f.Code == "order_unavailable" && f.Ambiguous:
			unknown++
		default:
			t.Errorf("%s: got %+v", key, got)
		}
	}
	if answered != 2 || unknown != 4 {
		t.Errorf("%d orders are answered and %d unknown, want 2 and 4", answered, unknown)
	}
}

func keyOf(r *http.Request) string {
	var in orderapi.PlaceRequest
	_ = json.NewDecoder(r.Body).Decode(&in)
	return in.IdempotencyKey
}

// TestGatherer_stopping: an order that a stopping replica has not executed goes to the other replica, as it does alone.
// The other orders of its call are executed once.
func TestGatherer_stopping(t *testing.T) {
	t.Parallel()
	stopping := fault.New(fault.Unavailable, "stopping", "the service is stopping; nothing was ordered").NotExecuted()
	b := newBlocker(placed)
	half := func(w http.ResponseWriter, r *http.Request, key string) {
		if strings.HasSuffix(key, "1") || strings.HasSuffix(key, "3") {
			refused(w, stopping)
			return
		}
		placed(w, r, key)
	}
	first := newReplica(t, func(w http.ResponseWriter, r *http.Request, key string) {
		if strings.HasPrefix(key, holdPrefix) {
			b.place(w, r, key)
			return
		}
		half(w, r, key)
	})
	second := newReplica(t, b.place)
	g := newGatherer(t, 20*time.Second, first.url, second.url)
	keys := names(5)
	for key, got := range together(t, g, b, keys...) {
		if got.err != nil {
			t.Errorf("%s: %v", key, got.err)
		}
	}
	for _, key := range keys {
		if strings.HasSuffix(key, "1") || strings.HasSuffix(key, "3") {
			if second.times(key) != 1 {
				t.Errorf("%s came to the replica that serves %d times", key, second.times(key))
			}
			continue
		}
		if n := first.times(key) + second.times(key); n != 1 {
			t.Errorf("%s came %d times", key, n)
		}
	}
}

// TestGatherer_allStopping: an order that no replica executes gets the refusal of the last one, which is not ambiguous.
func TestGatherer_allStopping(t *testing.T) {
	t.Parallel()
	stopping := fault.New(fault.Unavailable, "stopping", "nothing was ordered").NotExecuted()
	b := newBlocker(func(w http.ResponseWriter, r *http.Request, key string) {
		if key == "k0" {
			placed(w, r, key)
			return
		}
		refused(w, stopping)
	})
	first, second := newReplica(t, b.place), newReplica(t, b.place)
	g := newGatherer(t, 20*time.Second, first.url, second.url)
	for key, got := range together(t, g, b, names(3)...) {
		if key == "k0" {
			if n := first.times(key) + second.times(key); got.err != nil || n != 1 {
				t.Errorf("%s: %v after %d requests", key, got.err, n)
			}
			continue
		}
		if f := fault.From(got.err); f == nil || f.Code != "stopping" || f.Ambiguous || first.times(key) != 1 || second.times(key) != 1 {
			t.Errorf("%s: %+v after %d and %d requests", key, got, first.times(key), second.times(key))
		}
	}
}

// TestGatherer_noReplica: with nothing listening, no order was executed.
func TestGatherer_noReplica(t *testing.T) {
	t.Parallel()
	g := newGatherer(t, 5*time.Second, "http://"+testkit.RefusingAddr(t))
	var running sync.WaitGroup
	for range 50 {
		running.Go(func() {
			_, _, err := g.Place(t.Context(), "ann", "buyer", request("k"))
			if f := fault.From(err); f == nil || f.Code != "order_unavailable" || f.Ambiguous {
				t.Errorf("got %v", err)
			}
		})
	}
	running.Wait()
}

// TestGatherer_earlierVersion: a replica that does not know the route gets the orders one by one.
func TestGatherer_earlierVersion(t *testing.T) {
	t.Parallel()
	b := newBlocker(placed)
	var mu sync.Mutex
	asked := map[string]int{}
	old := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/orders" {
			p := fault.New(fault.Invalid, "method_not_allowed", "POST is not allowed here")
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusMethodNotAllowed)
			_ = json.NewEncoder(w).Encode(fault.ToProblem(p))
			return
		}
		key := keyOf(r)
		mu.Lock()
		asked[key]++
		mu.Unlock()
		b.place(w, r, key)
	}))
	t.Cleanup(old.Close)
	g := newGatherer(t, 20*time.Second, old.URL)
	for key, got := range together(t, g, b, names(5)...) {
		if got.err != nil || got.order.OrderNo != "user-"+key+"-"+key || asked[key] != 1 {
			t.Errorf("%s: got %+v after %d requests", key, got, asked[key])
		}
	}
}

// TestGatherer_users has a faulty order-srv answer a batch with lines in any order, twice, for others, of other users
// and broken. No caller ever gets an answer that names another user.
func TestGatherer_users(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			b := newBlocker(placed)
			faulty := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v1/orders/batch" {
					apitest.Batches(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.place(w, r, keyOf(r)) })).ServeHTTP(w, r)
					return
				}
				var in orderapi.PlaceBatch
				_ = json.NewDecoder(r.Body).Decode(&in)
				_, _ = w.Write(confused(rand.New(rand.NewPCG(seed, 1)), in))
			}))
			t.Cleanup(faulty.Close)
			g := newGatherer(t, 20*time.Second, faulty.URL)
			for key, got := range together(t, g, b, names(6)...) {
				if got.err == nil && got.order.OrderNo != "user-"+key {
					t.Errorf("%s: got the answer of %s", key, got.order.OrderNo)
				}
				if got.err != nil && !fault.Ambiguous(got.err) {
					t.Errorf("%s: %v is not ambiguous, and the order may have been executed", key, got.err)
				}
			}
		})
	}
}

// confused makes lines of a batch, each with the order of the user that it names.
func confused(random *rand.Rand, in orderapi.PlaceBatch) []byte {
	var lines []byte
	for _, n := range random.Perm(len(in.Orders)) {
		user := in.Orders[n].UserID
		if random.IntN(4) == 0 {
			user = in.Orders[random.IntN(len(in.Orders))].UserID
		}
		at := n
		if random.IntN(4) == 0 {
			at = random.IntN(len(in.Orders)+2) - 1
		}
		body := json.RawMessage(fmt.Sprintf(`{"order_no":%q,"status":"PLACED"}`, user))
		if random.IntN(10) == 0 {
			body = body[:random.IntN(len(body))]
		}
		lines = orderapi.BatchAnswer{Order: at, UserID: user, Status: 201, Body: body}.AppendLine(lines)
		if random.IntN(10) == 0 {
			lines = append(lines, "nonsense\n"...)
		}
	}
	return lines
}
