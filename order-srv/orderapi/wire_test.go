package orderapi_test

import (
	"testing"

	"holdfast/order-srv/orderapi"
	"holdfast/pkg/wire/wiretest"
)

func FuzzPlaceRequest(f *testing.F) {
	items := []orderapi.PlaceItem{{SKU: "MUG-CLASSIC", Quantity: 1}, {SKU: "TEE-BLACK-M", Quantity: 1 << 40}}
	for _, body := range []string{
		`{"idempotency_key":"k","items":null}`, `{"idempotency_key":"\"<k>","items":[]}`, `{"items":[],"idempotency_key":"k"}`,
		`{"idempotency_key":"k","items":[],"strategy":""}`, `{"idempotency_key":"k","items":[],"strategy":"a","strategy":"b"}`,
		`{"idempotency_key":"k","items":[],"flow":"queue","strategy":"a"}`, `{"idempotency_key":"k","items":[],"strategy":"a","flow":""}`,
	} {
		f.Add([]byte(body))
	}
	wiretest.Fuzz[orderapi.PlaceRequest, *orderapi.PlaceRequest](f, orderapi.PlaceRequest{IdempotencyKey: "k", Items: items, Strategy: "for-update"},
		orderapi.PlaceRequest{IdempotencyKey: "k", Items: items, Strategy: "for-update", Flow: "queue"}, orderapi.PlaceRequest{IdempotencyKey: "k", Items: items, Flow: "queue"},
		orderapi.PlaceRequest{IdempotencyKey: "k", Items: []orderapi.PlaceItem{}})
}

func FuzzPlaceBatch(f *testing.F) {
	order := orderapi.PlaceRequest{IdempotencyKey: "k", Items: []orderapi.PlaceItem{{SKU: "A", Quantity: 1}}}
	for _, body := range []string{
		`{"orders":null}`, `{"orders":[{}]}`, `{"orders":[{"user_id":"a\"b","role":"","request_id":"","deadline_ms":-1,"order":{"idempotency_key":"k","items":null}}]}`,
		`{"orders":[{"user_id":"a","role":"r","request_id":"","deadline_ms":1,"order":{"idempotency_key":"k","items":[]},"order":{}}]}`,
	} {
		f.Add([]byte(body))
	}
	named := order
	named.Strategy, named.Flow = "for-update", "queue"
	wiretest.Fuzz[orderapi.PlaceBatch, *orderapi.PlaceBatch](f, orderapi.PlaceBatch{Orders: []orderapi.BatchOrder{
		{UserID: "ann", Role: "buyer", RequestID: "r1", DeadlineMS: 4750, Order: order}, {UserID: "bob", Role: "admin", DeadlineMS: 1, Order: named},
	}}, orderapi.PlaceBatch{Orders: []orderapi.BatchOrder{}})
}

// A line that was written is read as it was. No other line is read as something that was not written in it.
func FuzzBatchAnswer(f *testing.F) {
	f.Add([]byte(`{"order":0,"user_id":"ann","status":201,"body":{"order_no":"O"}}`))
	f.Add([]byte(`{"order":7,"user_id":"bob","status":409,"body":{}}}`))
	f.Add([]byte(`{"order":-1,"user_id":"","status":0,"body":}`))
	f.Add([]byte(`{"user_id":"ann","order":0,"status":201,"body":{}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var a orderapi.BatchAnswer
		if err := a.ParseLine(line); err != nil {
			return
		}
		if got := a.AppendLine(nil); string(got) != string(line)+"\n" {
			t.Errorf("%q is read as %+v, which is written as %q", line, a, got)
		}
	})
}
