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
