package orderapi

import (
	"strconv"

	"holdfast/pkg/wire"
)

// A request for an order is the most frequent message. It is written and read by hand.
var (
	_ wire.Appender = PlaceRequest{}
	_ wire.Parser   = (*PlaceRequest)(nil)
)

// AppendJSON implements wire.Appender.
func (r PlaceRequest) AppendJSON(b []byte) (_ []byte, err error) {
	b = append(b, `{"idempotency_key":`...)
	if b, err = wire.AppendText(b, r.IdempotencyKey); err != nil {
		return b, err
	}
	b = append(b, `,"items":`...)
	b, err = wire.AppendArray(b, len(r.Items), r.Items != nil, func(b []byte, i int) (_ []byte, err error) {
		b = append(b, `{"sku":`...)
		if b, err = wire.AppendText(b, r.Items[i].SKU); err != nil {
			return b, err
		}
		b = append(b, `,"quantity":`...)
		b = strconv.AppendInt(b, r.Items[i].Quantity, 10)
		return append(b, '}'), nil
	})
	if err != nil {
		return b, err
	}
	if r.Strategy != "" {
		b = append(b, `,"strategy":`...)
		if b, err = wire.AppendText(b, r.Strategy); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
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
	in.Want("}")
	if !in.Done() {
		return false
	}
	*r = p
	return true
}
