package ordertest

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path"
	"sync"
	"testing"

	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/order-srv/internal/app"
	"holdfast/order-srv/internal/wallet/httpapi"
	"holdfast/order-srv/internal/wallet/store"
	"holdfast/order-srv/walletapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/rest"
	"holdfast/pkg/web"
	"holdfast/sql"
)

// Wallet is the wallet with its own database behind HTTP, on a network that can be broken.
type Wallet struct {
	*walletapi.Client
	DB  *gorm.DB
	URL string

	mu     sync.Mutex
	faults map[string][]WalletFault // by kind of call
	calls  map[string]int
	down   bool
}

// The kinds of calls.
const (
	Freeze       = "freezes"
	Confirmation = "confirmation"
	Cancellation = "cancellation"
	Refund       = "refund"
)

// WalletFault is what becomes of one call.
type WalletFault func(execute func() *httptest.ResponseRecorder)

// LostAnswer executes the call, and the answer is lost.
func LostAnswer(execute func() *httptest.ResponseRecorder) {
	execute()
	panic(http.ErrAbortHandler) // breaks the connection
}

// LostCall does not execute the call, which looks the same.
func LostCall(func() *httptest.ResponseRecorder) { panic(http.ErrAbortHandler) }

// Delayed has the caller lose its connection, and executes the call when release is closed. done then gets the status
// of the answer that is lost.
func Delayed(release <-chan struct{}, done chan<- int) WalletFault {
	return func(execute func() *httptest.ResponseRecorder) {
		go func() {
			<-release
			done <- execute().Code
		}()
		panic(http.ErrAbortHandler)
	}
}

// NewWallet starts a wallet in which each user has so many cents at first.
func NewWallet(tb testing.TB, openingCents int64) *Wallet {
	tb.Helper()
	w := &Wallet{DB: dbtest.New(tb, sql.Wallet()), faults: map[string][]WalletFault{}, calls: map[string]int{}}
	handler := httpapi.New(web.EngineConfig{Log: slog.New(slog.DiscardHandler)}, store.New(w.DB, openingCents))
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.serve(rw, r, handler) }))
	client, err := rest.New(rest.Config{URLs: []string{s.URL}, Name: "wallet", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		client.Close()
		s.Close()
	})
	w.URL, w.Client = s.URL, walletapi.NewClient(client)
	return w
}

// Use has order-srv call this wallet.
func (w *Wallet) Use(cfg *app.Config) { cfg.WalletURLs = []string{w.URL} }

// Break has the next calls of a kind meet these faults, and then all faults are over.
func (w *Wallet) Break(kind string, faults ...WalletFault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults[kind] = faults
}

// SetDown has all calls refused, not executed.
func (w *Wallet) SetDown(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
}

// Calls returns how many calls of a kind came.
func (w *Wallet) Calls(kind string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[kind]
}

func (w *Wallet) serve(rw http.ResponseWriter, r *http.Request, handler http.Handler) {
	kind := path.Base(r.URL.Path)
	w.mu.Lock()
	w.calls[kind]++
	var broken WalletFault
	if faults := w.faults[kind]; len(faults) > 0 {
		broken, w.faults[kind] = faults[0], faults[1:]
	}
	down := w.down
	w.mu.Unlock()
	switch {
	case down:
		problem(rw, http.StatusServiceUnavailable, fault.New(fault.Unavailable, "database_unavailable", "the wallet is away").NotExecuted())
	case broken != nil:
		sent := whole(r)
		broken(func() *httptest.ResponseRecorder {
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, sent)
			return answer
		})
	default:
		handler.ServeHTTP(rw, r)
	}
}

// whole is the request with its body read, so that it outlives its connection.
func whole(r *http.Request) *http.Request {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	sent := r.Clone(context.WithoutCancel(r.Context()))
	sent.Body = io.NopCloser(bytes.NewReader(body))
	return sent
}
