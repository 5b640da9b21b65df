package orderapi

import "holdfast/pkg/wire"

// A request for an order is the most frequent message. It is written and read by hand, alone and with others.
var (
	_ wire.Appender = PlaceRequest{}
	_ wire.Parser   = (*PlaceRequest)(nil)
	_ wire.Appender = PlaceBatch{}
	_ wire.Parser   = (*PlaceBatch)(nil)
)

// AppendJSON implements wire.Appender.
func (r PlaceRequest) AppendJSON(b []byte) ([]byte, error) { return r.appendJSON(b), nil }

func (r PlaceRequest) appendJSON(b []byte) []byte {
	b = wire.AppendText(b, `{"idempotency_key":`, r.IdempotencyKey)
	b = wire.AppendArray(b, `,"items":`, r.Items, PlaceItem.appendJSON)
	if r.Strategy != "" {
		b = wire.AppendText(b, `,"strategy":`, r.Strategy)
	}
	if r.Flow != "" {
		b = wire.AppendText(b, `,"flow":`, r.Flow)
	}
	return append(b, '}')
}

func (i PlaceItem) appendJSON(b []byte) []byte {
	b = wire.AppendText(b, `{"sku":`, i.SKU)
	b = wire.AppendInt(b, `,"quantity":`, i.Quantity)
	return append(b, '}')
}

// ParseJSON implements wire.Parser.
func (r *PlaceRequest) ParseJSON(body []byte) bool {
	in := wire.NewReader(body)
	p := parsePlaceRequest(in)
	if !in.Done() {
		return false
	}
	*r = p
	return true
}

func parsePlaceRequest(in *wire.Reader) PlaceRequest {
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
	return p
}

// AppendJSON implements wire.Appender.
func (b PlaceBatch) AppendJSON(to []byte) ([]byte, error) {
	to = wire.AppendArray(to, `{"orders":`, b.Orders, BatchOrder.appendJSON)
	return append(to, '}'), nil
}

func (o BatchOrder) appendJSON(b []byte) []byte {
	b = wire.AppendText(b, `{"user_id":`, o.UserID)
	b = wire.AppendText(b, `,"role":`, o.Role)
	b = wire.AppendText(b, `,"request_id":`, o.RequestID)
	b = wire.AppendInt(b, `,"deadline_ms":`, o.DeadlineMS)
	b = append(b, `,"order":`...)
	b = o.Order.appendJSON(b)
	return append(b, '}')
}

// ParseJSON implements wire.Parser.
func (b *PlaceBatch) ParseJSON(body []byte) bool {
	in := wire.NewReader(body)
	orders := []BatchOrder{}
	in.Want(`{"orders":`)
	in.Array(func() {
		var o BatchOrder
		in.Want(`{"user_id":`)
		o.UserID = in.Text()
		in.Want(`,"role":`)
		o.Role = in.Text()
		in.Want(`,"request_id":`)
		o.RequestID = in.Text()
		in.Want(`,"deadline_ms":`)
		o.DeadlineMS = in.Int()
		in.Want(`,"order":`)
		o.Order = parsePlaceRequest(in)
		in.Want("}")
		orders = append(orders, o)
	})
	in.Want("}")
	if !in.Done() {
		return false
	}
	b.Orders = orders
	return true
}
