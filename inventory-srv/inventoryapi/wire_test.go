package inventoryapi_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/wire"
	"holdfast/pkg/wire/wiretest"
)

func request(orders int) inventoryapi.ReserveRequest {
	r := inventoryapi.ReserveRequest{Orders: make([]inventoryapi.ReserveOrder, orders)}
	for i := range r.Orders {
		r.Orders[i] = inventoryapi.ReserveOrder{
			OrderNo: fmt.Sprintf("01K%023d", i), Lines: []inventoryapi.Line{{SKU: "MUG-CLASSIC", Quantity: int64(i)}},
		}
	}
	return r
}

func response(orders int) inventoryapi.ReserveResponse {
	r := inventoryapi.ReserveResponse{Results: make([]inventoryapi.ReserveResult, orders)}
	for i := range r.Results {
		no := fmt.Sprintf("01K%023d", i)
		r.Results[i] = inventoryapi.ReserveResult{OrderNo: no, Receipt: &inventoryapi.Receipt{
			OrderNo: no, Strategy: "group-commit", AmountCents: 1290,
			Lines: []inventoryapi.ReceiptLine{{SKU: "MUG-CLASSIC", Title: "Mug, classic", Quantity: 1, UnitPriceCents: 1290}},
		}}
	}
	return r
}

func FuzzReserveRequest(f *testing.F) {
	strategy := request(2)
	strategy.Orders[1].Strategy = "for-update"
	strategy.Orders[1].Lines = append(strategy.Orders[1].Lines, inventoryapi.Line{SKU: "A", Quantity: -1})
	for _, body := range []string{
		`{"orders":null}`, `{"orders":[{"order_no":"A","lines":null}]}`,
		`{"orders":[{"order_no":"<&>\u2028","lines":[]}]}`,
		`{"orders":[{"order_no":"A","lines":[{"sku":"A","quantity":01}]}]}`, `{"orders":[{"order_no":"A","lines":[{"sku":"A","quantity":-0}]}]}`,
		`{"orders":[{"order_no":"A","lines":[{"sku":"A","quantity":9223372036854775808}]}]}`, `{"orders":[],"orders":[]}`, `{"Orders":[]}`,
		`{"orders":[{"order_no":"A","lines":[,]}]}`, `{"orders":[{"order_no":"<","lines":[]},{"order_no":"&","lines":[]},{"order_no":">","lines":[]}]}`, `{"orders":[]} `, `{"orders":[]}x`, `{"orders":[{"order_no":"A` + "\xff" + `","lines":[]}]}`, "{\"orders\":[{\"order_no\":\"\t\",\"lines\":[]}]}",
	} {
		f.Add([]byte(body))
	}
	wiretest.Fuzz[inventoryapi.ReserveRequest, *inventoryapi.ReserveRequest](f, inventoryapi.ReserveRequest{Orders: []inventoryapi.ReserveOrder{}}, request(1), strategy)
}

func FuzzReserveResponse(f *testing.F) {
	mixed := response(3)
	mixed.Results[0].Receipt.Lines[0].Title = "Tässchen 杯子"
	short := []inventoryapi.ShortLine{{SKU: "A", Requested: 2, Available: 1}}
	p := fault.ToProblem(inventoryapi.OutOfStock(short))
	mixed.Results[1].Receipt, mixed.Results[1].Problem = nil, &p
	f.Add([]byte(`{"results":[{"order_no":"A","problem":{"unknown":1}}]}`))
	f.Add([]byte(`{"results":[{"order_no":"A","problem":null}]}`))
	wiretest.Fuzz[inventoryapi.ReserveResponse, *inventoryapi.ReserveResponse](f, inventoryapi.ReserveResponse{Results: []inventoryapi.ReserveResult{}}, response(1), mixed)
}

func BenchmarkReserve(b *testing.B) {
	in, out := request(64), response(64)
	encoded, err := json.Marshal(in)
	if err != nil {
		b.Fatal(err)
	}
	answer, err := json.Marshal(out)
	if err != nil {
		b.Fatal(err)
	}
	marshal := map[string]func(any) ([]byte, error){"json": json.Marshal, "wire": wire.Marshal}
	parse := map[string]func([]byte, any) bool{
		"json": func(body []byte, dst any) bool { return json.Unmarshal(body, dst) == nil }, "wire": wire.Parse,
	}
	for _, way := range []string{"json", "wire"} {
		b.Run(way, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = marshal[way](in)
				_, _ = marshal[way](out)
				var r inventoryapi.ReserveRequest
				var a inventoryapi.ReserveResponse
				if !parse[way](encoded, &r) || !parse[way](answer, &a) {
					b.Fatal("not read")
				}
			}
		})
	}
}
