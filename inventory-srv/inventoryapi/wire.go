package inventoryapi

import (
	"errors"

	"holdfast/pkg/fault"
	"holdfast/pkg/wire"
)

// A call to reserve and its answer have hundreds of orders. They are written and read by hand.
var (
	_ wire.Appender = ReserveRequest{}
	_ wire.Parser   = (*ReserveRequest)(nil)
	_ wire.Appender = ReserveResponse{}
	_ wire.Parser   = (*ReserveResponse)(nil)
)

// AppendJSON implements wire.Appender.
func (r ReserveRequest) AppendJSON(b []byte) ([]byte, error) {
	b = wire.AppendArray(b, `{"orders":`, r.Orders, ReserveOrder.appendJSON)
	return append(b, '}'), nil
}

func (o ReserveOrder) appendJSON(b []byte) []byte {
	b = wire.AppendText(b, `{"order_no":`, o.OrderNo)
	b = wire.AppendArray(b, `,"lines":`, o.Lines, Line.appendJSON)
	if o.Strategy != "" {
		b = wire.AppendText(b, `,"strategy":`, o.Strategy)
	}
	return append(b, '}')
}

func (l Line) appendJSON(b []byte) []byte {
	b = wire.AppendText(b, `{"sku":`, l.SKU)
	b = wire.AppendInt(b, `,"quantity":`, l.Quantity)
	return append(b, '}')
}

// ParseJSON implements wire.Parser.
func (r *ReserveRequest) ParseJSON(body []byte) bool {
	in := wire.NewReader(body)
	orders := []ReserveOrder{}
	in.Want(`{"orders":`)
	in.Array(func() {
		o := ReserveOrder{Lines: []Line{}}
		in.Want(`{"order_no":`)
		o.OrderNo = in.Text()
		in.Want(`,"lines":`)
		in.Array(func() {
			in.Want(`{"sku":`)
			l := Line{SKU: in.Text()}
			in.Want(`,"quantity":`)
			l.Quantity = in.Int()
			in.Want("}")
			o.Lines = append(o.Lines, l)
		})
		if in.Has(`,"strategy":`) {
			o.Strategy = in.Text()
		}
		in.Want("}")
		orders = append(orders, o)
	})
	in.Want("}")
	if !in.Done() {
		return false
	}
	r.Orders = orders
	return true
}

// AppendJSON implements wire.Appender. Only the details of a problem can fail to be encoded.
func (r ReserveResponse) AppendJSON(b []byte) ([]byte, error) {
	var failed error
	b = wire.AppendArray(b, `{"results":`, r.Results, func(result ReserveResult, b []byte) []byte {
		b, err := result.appendJSON(b)
		failed = errors.Join(failed, err)
		return b
	})
	return append(b, '}'), failed
}

func (r ReserveResult) appendJSON(b []byte) (_ []byte, err error) {
	b = wire.AppendText(b, `{"order_no":`, r.OrderNo)
	if r.Receipt != nil {
		b = append(b, `,"receipt":`...)
		b = r.Receipt.appendJSON(b)
	}
	if r.Problem != nil {
		b = append(b, `,"problem":`...)
		b, err = wire.AppendValue(b, r.Problem)
	}
	return append(b, '}'), err
}

func (r Receipt) appendJSON(b []byte) []byte {
	b = wire.AppendText(b, `{"order_no":`, r.OrderNo)
	b = wire.AppendText(b, `,"strategy":`, r.Strategy)
	b = wire.AppendInt(b, `,"amount_cents":`, r.AmountCents)
	b = wire.AppendArray(b, `,"lines":`, r.Lines, ReceiptLine.appendJSON)
	return append(b, '}')
}

func (l ReceiptLine) appendJSON(b []byte) []byte {
	b = wire.AppendText(b, `{"sku":`, l.SKU)
	b = wire.AppendText(b, `,"title":`, l.Title)
	b = wire.AppendInt(b, `,"quantity":`, l.Quantity)
	b = wire.AppendInt(b, `,"unit_price_cents":`, l.UnitPriceCents)
	return append(b, '}')
}

// ParseJSON implements wire.Parser.
func (r *ReserveResponse) ParseJSON(body []byte) bool {
	in := wire.NewReader(body)
	results := []ReserveResult{}
	in.Want(`{"results":`)
	in.Array(func() {
		var o ReserveResult
		in.Want(`{"order_no":`)
		o.OrderNo = in.Text()
		if in.Has(`,"receipt":`) {
			o.Receipt = parseReceipt(in)
		}
		if in.Has(`,"problem":`) {
			o.Problem = &fault.Problem{}
			in.Object(o.Problem)
		}
		in.Want("}")
		results = append(results, o)
	})
	in.Want("}")
	if !in.Done() {
		return false
	}
	r.Results = results
	return true
}

func parseReceipt(in *wire.Reader) *Receipt {
	r := Receipt{Lines: []ReceiptLine{}}
	in.Want(`{"order_no":`)
	r.OrderNo = in.Text()
	in.Want(`,"strategy":`)
	r.Strategy = in.Text()
	in.Want(`,"amount_cents":`)
	r.AmountCents = in.Int()
	in.Want(`,"lines":`)
	in.Array(func() {
		in.Want(`{"sku":`)
		l := ReceiptLine{SKU: in.Text()}
		in.Want(`,"title":`)
		l.Title = in.Text()
		in.Want(`,"quantity":`)
		l.Quantity = in.Int()
		in.Want(`,"unit_price_cents":`)
		l.UnitPriceCents = in.Int()
		in.Want("}")
		r.Lines = append(r.Lines, l)
	})
	in.Want("}")
	return &r
}
