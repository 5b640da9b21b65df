package inventoryapi

import (
	"strconv"

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
	b = append(b, `{"orders":`...)
	b, err := wire.AppendArray(b, len(r.Orders), r.Orders != nil, func(b []byte, i int) ([]byte, error) { return r.Orders[i].appendJSON(b) })
	return append(b, '}'), err
}

func (o ReserveOrder) appendJSON(b []byte) (_ []byte, err error) {
	b = append(b, `{"order_no":`...)
	if b, err = wire.AppendText(b, o.OrderNo); err != nil {
		return b, err
	}
	b = append(b, `,"lines":`...)
	b, err = wire.AppendArray(b, len(o.Lines), o.Lines != nil, func(b []byte, i int) (_ []byte, err error) {
		b = append(b, `{"sku":`...)
		if b, err = wire.AppendText(b, o.Lines[i].SKU); err != nil {
			return b, err
		}
		b = append(b, `,"quantity":`...)
		b = strconv.AppendInt(b, o.Lines[i].Quantity, 10)
		return append(b, '}'), nil
	})
	if err != nil {
		return b, err
	}
	if o.Strategy != "" {
		b = append(b, `,"strategy":`...)
		if b, err = wire.AppendText(b, o.Strategy); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
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

// AppendJSON implements wire.Appender.
func (r ReserveResponse) AppendJSON(b []byte) ([]byte, error) {
	b = append(b, `{"results":`...)
	b, err := wire.AppendArray(b, len(r.Results), r.Results != nil, func(b []byte, i int) ([]byte, error) { return r.Results[i].appendJSON(b) })
	return append(b, '}'), err
}

func (r ReserveResult) appendJSON(b []byte) (_ []byte, err error) {
	b = append(b, `{"order_no":`...)
	if b, err = wire.AppendText(b, r.OrderNo); err != nil {
		return b, err
	}
	if r.Receipt != nil {
		b = append(b, `,"receipt":`...)
		if b, err = r.Receipt.appendJSON(b); err != nil {
			return b, err
		}
	}
	if r.Problem != nil {
		b = append(b, `,"problem":`...)
		if b, err = wire.AppendValue(b, r.Problem); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
}

func (r Receipt) appendJSON(b []byte) (_ []byte, err error) {
	b = append(b, `{"order_no":`...)
	if b, err = wire.AppendText(b, r.OrderNo); err != nil {
		return b, err
	}
	b = append(b, `,"strategy":`...)
	if b, err = wire.AppendText(b, r.Strategy); err != nil {
		return b, err
	}
	b = append(b, `,"amount_cents":`...)
	b = strconv.AppendInt(b, r.AmountCents, 10)
	b = append(b, `,"lines":`...)
	b, err = wire.AppendArray(b, len(r.Lines), r.Lines != nil, func(b []byte, i int) ([]byte, error) { return r.Lines[i].appendJSON(b) })
	return append(b, '}'), err
}

func (l ReceiptLine) appendJSON(b []byte) (_ []byte, err error) {
	b = append(b, `{"sku":`...)
	if b, err = wire.AppendText(b, l.SKU); err != nil {
		return b, err
	}
	b = append(b, `,"title":`...)
	if b, err = wire.AppendText(b, l.Title); err != nil {
		return b, err
	}
	b = append(b, `,"quantity":`...)
	b = strconv.AppendInt(b, l.Quantity, 10)
	b = append(b, `,"unit_price_cents":`...)
	b = strconv.AppendInt(b, l.UnitPriceCents, 10)
	return append(b, '}'), nil
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
