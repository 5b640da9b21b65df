package orderapi

import "holdfast/pkg/wire"

// A request for an order is the most frequent message. It is written and read by hand.
var (
	_ wire.Appender = PlaceRequest{}
	_ wire.Parser   = (*PlaceRequest)(nil)
)

// AppendJSON implements wire.Appender.
func (r PlaceRequest) AppendJSON(b []byte) ([]byte, error) {
	b = wire.AppendText(b, `{"idempotency_key":`, r.IdempotencyKey)
	b = wire.AppendArray(b, `,"items":`, r.Items, PlaceItem.appendJSON)
	if r.Strategy != "" {
		b = wire.AppendText(b, `,"strategy":`, r.Strategy)
	}
	if r.Flow != "" {
		b = wire.AppendText(b, `,"flow":`, r.Flow)
	}
	return append(b, '}'), nil
}

func (i PlaceItem) appendJSON(b []byte) []byte {
	b = wire.AppendText(b, `{"sku":`, i.SKU)
	b = wire.AppendInt(b, `,"quantity":`, i.Quantity)
	return append(b, '}')
}

// ParseJSON implements wire.Parser.
func (r *PlaceRequest) ParseJSON(body []byte) bool {
	in := wire.NewReader(body)
	p := PlaceRequest{Items: []PlaceItem{}}
	in.Want(`{"idempotency_key":`)
	p.IdempotencyKey = in.Text()
	in.Want(`,"items":`)
	in.Array(func() {
		in.Want(`{"sku":`)
		it := PlaceItem{SKU: in.Text()}
		in.Want(`,"quantity":`)
		it.Quantity = in.Int()
		in.Want("}")
		p.Items = append(p.Items, it)
	})
	if in.Has(`,"strategy":`) {
		p.Strategy = in.Text()
	}
	if in.Has(`,"flow":`) {
		p.Flow = in.Text()
	}
	in.Want("}")
	if !in.Done() {
		return false
	}
	*r = p
	return true
}
