package orderapi

import (
	"encoding/json"
	"errors"
	"net/http"

	"holdfast/pkg/rest"
	"holdfast/pkg/wire"
)

// MaxBatch bounds the orders of a PlaceBatch.
const MaxBatch = 500

// PlaceBatch is POST /v1/orders/batch: requests for orders of several users. Each is executed and answered as if it had
// come alone, so what is wrong with one of them does not concern the others. The answer has a line for each of them, a
// [BatchAnswer], in the order in which they are decided.
type PlaceBatch struct {
	Orders []BatchOrder `json:"orders"`
}

// BatchOrder is a request of a PlaceBatch, with what a request that comes alone has in its headers.
type BatchOrder struct {
	UserID     string       `json:"user_id"`
	Role       string       `json:"role"`
	RequestID  string       `json:"request_id"`
	DeadlineMS int64        `json:"deadline_ms"` // what is left of its time; at least 1; milliseconds
	Order      PlaceRequest `json:"order"`
}

// BatchAnswer is the answer to one request of a PlaceBatch.
type BatchAnswer struct {
	Order  int             // the place of the request in the batch, from 0
	UserID string          // whose request it was
	Status int             // HTTP
	Body   json.RawMessage // an Order, or problem details from status 400 on; without line breaks
}

// AppendLine appends the answer as JSON and a line break.
func (a BatchAnswer) AppendLine(b []byte) []byte {
	b = wire.AppendInt(b, `{"order":`, int64(a.Order))
	b = wire.AppendText(b, `,"user_id":`, a.UserID)
	b = wire.AppendInt(b, `,"status":`, int64(a.Status))
	b = append(b, `,"body":`...)
	b = append(b, a.Body...)
	return append(b, "}\n"...)
}

// errNoAnswer is a line that AppendLine has not written.
var errNoAnswer = errors.New("not the answer to an order of a batch")

// ParseLine reads what AppendLine has written, without the line break. Body is a part of line, and is not checked.
func (a *BatchAnswer) ParseLine(line []byte) error {
	in := wire.NewReader(line)
	in.Want(`{"order":`)
	n := in.Int()
	in.Want(`,"user_id":`)
	user := in.Text()
	in.Want(`,"status":`)
	status := in.Int()
	in.Want(`,"body":`)
	body, ok := in.RestBefore("}")
	if !ok {
		return errNoAnswer
	}
	*a = BatchAnswer{Order: int(n), UserID: user, Status: int(status), Body: body}
	return nil
}

// decode returns the order, or the fault of an answer that has none. Any other error says that the answer is broken.
func (a BatchAnswer) decode() (o Order, err error) {
	contentType := "application/json"
	if a.Status >= http.StatusBadRequest {
		contentType = "application/problem+json"
	}
	err = rest.Answer(a.Status, contentType, a.Body, &o)
	return o, err
}
