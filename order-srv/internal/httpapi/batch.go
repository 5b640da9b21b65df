package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"runtime"
	"strconv"

	"github.com/gin-gonic/gin"

	"holdfast/order-srv/orderapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/web"
)

var errInvalidBatch = fault.New(fault.Invalid, "invalid_orders", "a batch has 1 to "+strconv.Itoa(orderapi.MaxBatch)+" orders")

// placeBatch places orders of several users. Each of them passes through the whole engine as a request of its own: it
// has its own deadline, slot, access line and metrics, and its answer is byte by byte that of a request that comes
// alone. The answers are sent as they come, so that an order that waits does not delay those of other users.
func (a *api) placeBatch(c *gin.Context) {
	var in orderapi.PlaceBatch
	if err := web.Decode(c, &in); err != nil {
		web.Problem(c, err)
		return
	}
	if n := len(in.Orders); n == 0 || n > orderapi.MaxBatch {
		web.Problem(c, errInvalidBatch)
		return
	}
	answers := make(chan []byte, len(in.Orders))
	for n := range in.Orders {
		go func() {
			growStack()
			answers <- a.placeOne(c.Request, n, &in.Orders[n])
		}()
	}
	c.Header("Content-Type", "application/x-ndjson")
	c.Status(http.StatusOK)
	for range in.Orders {
		_, _ = c.Writer.Write(<-answers) // an error: the caller has gone, and with it the requests' context
		if await(answers) == 0 {
			c.Writer.Flush()
		}
	}
}

// growStack gives a new goroutine the stack that a request needs, in one step and while there is nothing on it. It
// would grow to this size by doubling and copying three times, each time with deeper calls whose pointers are to be
// adjusted: that took a tenth of the service's time.
//
//go:noinline
func growStack() {
	var space [12 << 10]byte
	runtime.KeepAlive(&space)
}

// await lets other goroutines run for as long as they bring answers, and returns how many there are: the orders of a
// group are answered one after the other, and each flush is a packet.
func await(answers chan []byte) int {
	for had := -1; had < len(answers); {
		had = len(answers)
		runtime.Gosched()
	}
	return len(answers)
}

// requestKey is where the context of an order's request has its decoded body.
type requestKey struct{}

// placeRequest returns the body of a request for an order.
func placeRequest(c *gin.Context) (r orderapi.PlaceRequest, err error) {
	if decoded, ok := c.Request.Context().Value(requestKey{}).(*orderapi.PlaceRequest); ok {
		return *decoded, nil
	}
	err = web.Decode(c, &r)
	return r, err
}

// placeOne executes the request for one order of a batch and returns the line of its answer. The request ends with that
// of the batch, as a request that comes alone ends with its connection.
func (a *api) placeOne(batch *http.Request, n int, o *orderapi.BatchOrder) (line []byte) {
	h := http.Header{}
	h.Set(header.UserID, o.UserID)
	h.Set(header.UserRole, o.Role)
	h.Set(header.RequestID, o.RequestID)
	h.Set(header.Deadline, strconv.FormatInt(o.DeadlineMS, 10))
	h.Set(header.Credential, batch.Header.Get(header.Credential))
	one := http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: "/v1/orders"}, Proto: batch.Proto, ProtoMajor: batch.ProtoMajor, ProtoMinor: batch.ProtoMinor,
		Header: h, Body: http.NoBody, Host: batch.Host, RemoteAddr: batch.RemoteAddr,
	}
	w := &answer{header: http.Header{}}
	a.serve(w, one.WithContext(context.WithValue(batch.Context(), requestKey{}, &o.Order)))
	return orderapi.BatchAnswer{Order: n, UserID: o.UserID, Status: w.status, Body: w.body.Bytes()}.AppendLine(nil)
}

// serve has the engine answer. A request that it breaks off gets an answer that leaves the outcome open.
func (a *api) serve(w *answer, r *http.Request) {
	defer func() {
		if broken := recover(); broken != nil || w.body.Len() == 0 { // the engine has logged a panic
			w.fail()
		}
	}()
	a.engine.ServeHTTP(w, r)
}

// answer is what the engine writes for one order.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

var _ http.ResponseWriter = (*answer)(nil)

// Header implements http.ResponseWriter.
func (w *answer) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *answer) WriteHeader(status int) { w.status = status }

// Write implements http.ResponseWriter.
func (w *answer) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.body.Write(b)
}

// fail replaces the answer by an internal problem, which is ambiguous.
func (w *answer) fail() {
	p := fault.ToProblem(fault.ErrInternal)
	p.Status = web.Status(p.Kind)
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // it has no details
	}
	w.status = p.Status
	w.body.Reset()
	w.body.Write(body)
}
