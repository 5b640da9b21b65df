package stock_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/fault"
)

func TestValidSKU(t *testing.T) {
	t.Parallel()
	for sku, want := range map[string]bool{
		"MUG":                   true,
		"A-1.B_2":               true,
		strings.Repeat("A", 64): true,
		strings.Repeat("A", 65): false,
		"":                      false,
		"mug":                   false,
		"MUG ":                  false,
		"MÜG":                   false,
		"MUG'":                  false,
		"MUG\x00":               false,
	} {
		if got := stock.ValidSKU(sku); got != want {
			t.Errorf("ValidSKU(%q) = %v, want %v", sku, got, want)
		}
	}
}

func TestCheckOrderNo(t *testing.T) {
	t.Parallel()
	for _, no := range []string{"1", "~!", strings.Repeat("9", 26)} {
		if err := stock.CheckOrderNo(no); err != nil {
			t.Errorf("CheckOrderNo(%q): %v", no, err)
		}
	}
	for _, no := range []string{"", " ", "A ", " A", "A B", "A\n", "A\x7f", "Ä", strings.Repeat("9", 27)} {
		if err := stock.CheckOrderNo(no); !errors.Is(err, stock.ErrInvalidOrderNo) {
			t.Errorf("CheckOrderNo(%q) = %v, want ErrInvalidOrderNo", no, err)
		}
	}
}

// many returns lines of n distinct SKUs.
func many(n int) []stock.Line {
	lines := make([]stock.Line, n)
	for i := range lines {
		lines[i] = stock.Line{SKU: fmt.Sprintf("SKU-%03d", i), Quantity: 1}
	}
	return lines
}

func TestCheckLines(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lines []stock.Line
		want  string // in the refusal; "": the lines are valid
	}{
		"one unit":             {[]stock.Line{{SKU: "A", Quantity: 1}}, ""},
		"most units":           {[]stock.Line{{SKU: "A", Quantity: stock.MaxQuantity}}, ""},
		"most lines":           {many(stock.MaxLines), ""},
		"no lines":             {nil, "1 to 100 lines, not 0"},
		"a line too many":      {many(stock.MaxLines + 1), "1 to 100 lines, not 101"},
		"no units":             {[]stock.Line{{SKU: "A"}}, "line 1: the quantity is 1 to 10000, not 0"},
		"negative":             {[]stock.Line{{SKU: "A", Quantity: 1}, {SKU: "B", Quantity: -1}}, "line 2: the quantity is 1 to 10000, not -1"},
		"a unit too many":      {[]stock.Line{{SKU: "A", Quantity: stock.MaxQuantity + 1}}, "not 10001"},
		"not a SKU":            {[]stock.Line{{SKU: "A", Quantity: 1}, {SKU: "b", Quantity: 1}}, "line 2: a SKU has"},
		"one SKU in two lines": {[]stock.Line{{SKU: "A", Quantity: 1}, {SKU: "B", Quantity: 1}, {SKU: "A", Quantity: 2}}, "line 3: A stands in an earlier line"},
	} {
		err := stock.CheckLines(c.lines)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (!errors.Is(err, stock.ErrInvalidLines) || !strings.Contains(fault.From(err).Text, c.want)):
			t.Errorf("%s: got %v, want ErrInvalidLines with %q", name, err, c.want)
		}
	}
}

func TestRequest_Validate(t *testing.T) {
	t.Parallel()
	valid := stock.Request{OrderNo: "1", Lines: many(1)}
	if err := valid.Validate(); err != nil {
		t.Errorf("a valid request: %v", err)
	}
	if err := (stock.Request{OrderNo: "1"}).Validate(); !errors.Is(err, stock.ErrInvalidLines) {
		t.Errorf("without lines: got %v", err)
	}
	if err := (stock.Request{Lines: many(1)}).Validate(); !errors.Is(err, stock.ErrInvalidOrderNo) {
		t.Errorf("without a number: got %v", err)
	}
}

// TestRequest_Sorted checks that the caller's lines keep their order: they are the caller's memory.
func TestRequest_Sorted(t *testing.T) {
	t.Parallel()
	r := stock.Request{OrderNo: "1", Strategy: "naive", Lines: []stock.Line{{SKU: "B", Quantity: 1}, {SKU: "A-", Quantity: 3}, {SKU: "A", Quantity: 2}}}
	sorted := r.Sorted()
	if got, want := sorted.SKUs(), []string{"A", "A-", "B"}; !slices.Equal(got, want) {
		t.Errorf("sorted: %v, want %v", got, want)
	}
	if got, want := r.SKUs(), []string{"B", "A-", "A"}; !slices.Equal(got, want) {
		t.Errorf("the request itself: %v, want %v", got, want)
	}
	if sorted.Lines[0].Quantity != 2 || sorted.OrderNo != "1" || sorted.Strategy != "naive" {
		t.Errorf("sorted: %+v, want the same order", sorted)
	}
}

// TestRequest_Hash has the hash of what is asked for, and nothing else. The first one is stored in databases, so it
// must not change.
func TestRequest_Hash(t *testing.T) {
	t.Parallel()
	r := stock.Request{OrderNo: "1", Lines: []stock.Line{{SKU: "CAP", Quantity: 1}, {SKU: "MUG", Quantity: 2}}}
	// printf 'CAP 1\nMUG 2\n' | sha256sum
	const stored = "ebb9a0c86fc278e8d592133e39dab18550074f9c0df8ea713f565ee7e8c4952f"
	if got := r.Hash(); got != stored {
		t.Errorf("the hash is %s, and databases have %s", got, stored)
	}
	same := stock.Request{OrderNo: "2", Strategy: "naive", Lines: []stock.Line{{SKU: "MUG", Quantity: 2}, {SKU: "CAP", Quantity: 1}}}
	if same.Hash() != r.Hash() {
		t.Error("order number, strategy and the order of lines change the hash")
	}
	if got := same.SKUs(); !slices.Equal(got, []string{"MUG", "CAP"}) {
		t.Errorf("Hash has sorted the caller's lines: %v", got)
	}
	seen := map[string]string{r.Hash(): "the first"}
	for name, lines := range map[string][]stock.Line{
		"another quantity":      {{SKU: "CAP", Quantity: 2}, {SKU: "MUG", Quantity: 2}},
		"another SKU":           {{SKU: "CAP", Quantity: 1}, {SKU: "MUGS", Quantity: 2}},
		"quantities exchanged":  {{SKU: "CAP", Quantity: 2}, {SKU: "MUG", Quantity: 1}},
		"a line less":           {{SKU: "CAP", Quantity: 1}},
		"a line more":           {{SKU: "CAP", Quantity: 1}, {SKU: "MUG", Quantity: 2}, {SKU: "TEE", Quantity: 1}},
		"a digit moved":         {{SKU: "CAP1", Quantity: 1}, {SKU: "MUG", Quantity: 2}},
		"a digit moved further": {{SKU: "CAP", Quantity: 11}, {SKU: "MUG", Quantity: 2}},
	} {
		hash := stock.Request{OrderNo: "1", Lines: lines}.Hash()
		if other, ok := seen[hash]; ok {
			t.Errorf("%s has the hash of %s", name, other)
		}
		seen[hash] = name
	}
}

// FuzzRequest_Hash looks for two orders that differ and have one hash: the second would get the first one's receipt.
func FuzzRequest_Hash(f *testing.F) {
	f.Add("CAP", int64(1), "MUG", int64(2), "CAP", int64(1), "MUG", int64(3))
	f.Add("A", int64(11), "B", int64(1), "A1", int64(1), "B", int64(1))
	f.Fuzz(func(t *testing.T, a string, m int64, b string, n int64, c string, o int64, d string, p int64) {
		one := stock.Request{OrderNo: "1", Lines: []stock.Line{{SKU: a, Quantity: m}, {SKU: b, Quantity: n}}}
		two := stock.Request{OrderNo: "1", Lines: []stock.Line{{SKU: c, Quantity: o}, {SKU: d, Quantity: p}}}
		if one.Validate() != nil || two.Validate() != nil {
			return
		}
		if same := slices.Equal(one.Sorted().Lines, two.Sorted().Lines); same != (one.Hash() == two.Hash()) {
			t.Errorf("%v and %v: the same order is %v, the same hash %v", one.Lines, two.Lines, same, !same)
		}
	})
}

func TestReceipt_AmountCents(t *testing.T) {
	t.Parallel()
	r := stock.Receipt{Lines: []stock.ReceiptLine{{Quantity: 3, UnitPriceCents: 250}, {Quantity: stock.MaxQuantity, UnitPriceCents: 100_000_00}, {Quantity: 5}}}
	if got, want := r.AmountCents(), int64(750+10_000*100_000_00); got != want {
		t.Errorf("the amount is %d, want %d", got, want)
	}
}

// TestRefusals has every refusal say that nothing was executed, and name what is wrong: callers decide by that.
func TestRefusals(t *testing.T) {
	t.Parallel()
	short := []stock.ShortLine{{SKU: "A", Requested: 2, Available: 1}}
	for name, c := range map[string]struct {
		err    error
		is     error
		kind   fault.Kind
		detail string
	}{
		"out of stock":     {stock.OutOfStock(short), stock.ErrOutOfStock, fault.Conflict, "short"},
		"unknown":          {stock.UnknownSKU("A"), stock.ErrUnknownSKU, fault.NotFound, "sku"},
		"another layout":   {stock.WrongLayout("A", stock.LayoutUnits), stock.ErrWrongLayout, fault.Conflict, "sku"},
		"a layout it left": {stock.WrongLayout("A", stock.LayoutMoving), stock.ErrContended, fault.Contended, ""},
	} {
		f := fault.From(c.err)
		if !errors.Is(c.err, c.is) || f.Kind != c.kind || f.Ambiguous {
			t.Errorf("%s: got %v, kind %v, ambiguous %v; want %v, kind %v", name, c.err, f.Kind, f.Ambiguous, c.is, c.kind)
		}
		if _, ok := f.Details[c.detail]; c.detail != "" && !ok {
			t.Errorf("%s: the details %v have no %q", name, f.Details, c.detail)
		}
	}
	if d := fault.From(stock.ErrOutOfStock).Details; len(d) > 0 {
		t.Errorf("one order's short lines are in the refusal of all others: %v", d)
	}
	if text := fault.From(stock.WrongLayout("A", stock.LayoutMoving)).Text; !strings.Contains(text, "A is being moved") {
		t.Errorf("the refusal says %q", text)
	}
}
