package scale

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/orderapi"
)

const (
	products    = 100
	maxLines    = 3
	maxQuantity = 3
	shards      = 16 // of the outbox
	groupOrders = 20 // that share their messages
	userOrders  = 20 // of one user, one after the other
	payAfter    = 30 * time.Second
	expireAfter = 15 * time.Minute
)

// The columns of the rows of a chunk.
const (
	orderColumns = `order_no, group_id, user_id, idempotency_key, freed_key, request_hash, request_digest, response_status, response_body, status, reason,
		amount_cents, flow, strategy, created_at, updated_at, expires_at, paid_at, settled_at`
	itemColumns        = "order_no, sku, title, quantity, unit_price_cents"
	outboxColumns      = "event_id, topic, shard, shard_key, payload, deliver_at, created_at, sent_at, attempts"
	reservationColumns = "order_no, status, request_hash, strategy, created_at, updated_at, sku, quantity, unit_price_cents"
	lineColumns        = "order_no, sku, quantity, unit_price_cents"
)

// chunk is the rows of some orders, as the texts of INSERT statements, and the units that they bought.
type chunk struct {
	orders, items, outbox, reservations, lines rows

	sold [products]int64
	form
	random *rand.Rand
	group  string
}

// form says how rows are written: as the version that runs on the databases writes them.
type form struct {
	lean    bool // an order has half of its hash, and no answer if it was placed
	compact bool // a reservation of one line has no row of lines
}

// newChunk makes the orders first to first+size of a history that begins at begin. The same arguments make the same
// orders.
func newChunk(begin time.Time, first, size int, f form) *chunk {
	c := &chunk{form: f, random: rand.New(rand.NewPCG(uint64(begin.UnixMilli()), uint64(first)))} //nolint:gosec // rows, not secrets
	for n := first; n < first+size; n++ {
		c.add(n, begin.Add(time.Duration(n)*spacing))
	}
	return c
}

// kind is how a generated order has ended.
type kind struct {
	share       int // of 100 orders
	status      string
	reservation string // empty: none
	answer      int    // that a repeat of the request gets; 0: the order has freed its key
	after       time.Duration
}

func kinds() []kind {
	return []kind{
		{70, orderapi.StatusPaid, "confirmed", 201, payAfter},
		{15, orderapi.StatusExpired, "released", 201, expireAfter},
		{5, orderapi.StatusCancelled, "released", 201, payAfter},
		{8, orderapi.StatusRejected, "", 409, 0},
		{2, orderapi.StatusAbandoned, "void", 0, payAfter},
	}
}

func (c *chunk) kind() kind {
	draw := c.random.IntN(100)
	all := kinds()
	for _, k := range all[:len(all)-1] {
		if draw < k.share {
			return k
		}
		draw -= k.share
	}
	return all[len(all)-1]
}

// add adds the n-th order of the history.
func (c *chunk) add(n int, at time.Time) {
	k := c.kind()
	no := c.number(at)
	if n%groupOrders == 0 || c.group == "" {
		c.group = no
		c.messages(no, at, k)
	}
	o := orderapi.Order{OrderNo: no, Status: orderapi.StatusPlaced, Strategy: "conditional", CreatedAt: at, Items: c.basket()}
	for _, it := range o.Items {
		o.AmountCents += it.Quantity * it.UnitPriceCents
	}
	expires, ended := at.Add(expireAfter), at.Add(k.after)
	o.ExpiresAt = &expires
	c.order(n, o, k, ended)
	c.reservation(o, k, ended)
}

func (c *chunk) number(at time.Time) string {
	var no ulid.ULID
	_ = no.SetTime(uint64(at.UnixMilli())) //nolint:gosec // after 1970 and before the year 10889, so there is no error
	for i := 6; i < len(no); i++ {
		no[i] = byte(c.random.Uint32())
	}
	return no.String()
}

// basket draws 1 to 3 products, sorted, as order-srv writes them.
func (c *chunk) basket() []orderapi.Item {
	count := 1
	switch draw := c.random.IntN(100); {
	case draw >= 95:
		count = 3
	case draw >= 80:
		count = 2
	}
	var drawn []int
	for len(drawn) < count {
		if p := c.random.IntN(products); !slices.Contains(drawn, p) {
			drawn = append(drawn, p)
		}
	}
	slices.Sort(drawn)
	items := make([]orderapi.Item, count)
	for i, p := range drawn {
		items[i] = orderapi.Item{SKU: skuOf(p), Title: titleOf(p), Quantity: 1 + c.random.Int64N(maxQuantity), UnitPriceCents: priceOf(p)}
	}
	return items
}

// order writes the rows of orders and order_items.
func (c *chunk) order(n int, o orderapi.Order, k kind, ended time.Time) {
	key := fmt.Sprintf("generated-%s", o.OrderNo)
	bought := k.reservation != "" && k.reservation != "void"
	columns := []any{
		o.OrderNo, c.group, fmt.Sprintf("generated-%09d", n/userOrders), key, nil, hashOf("\n", o.Items), nil, k.answer, nil, k.status, "",
		nil, "tx-message", "", o.CreatedAt, ended, nil, nil, ended,
	}
	if c.lean {
		columns[5], columns[6] = nil, digest(hashOf("\n", o.Items))
	}
	switch {
	case bought:
		columns[11], columns[13], columns[16] = o.AmountCents, o.Strategy, *o.ExpiresAt
		if !c.lean {
			columns[8] = placed(o)
		}
	case k.answer == 0:
		columns[3], columns[4] = nil, key
	default:
		columns[8], columns[10] = refused(o), "out_of_stock"
	}
	if k.status == orderapi.StatusPaid {
		columns[17] = ended
	}
	c.orders.add(columns...)
	for _, it := range o.Items {
		if bought {
			c.items.add(o.OrderNo, it.SKU, it.Title, it.Quantity, it.UnitPriceCents)
		} else {
			c.items.add(o.OrderNo, it.SKU, nil, it.Quantity, nil)
		}
	}
}

// reservation writes the rows of reservations and reservation_lines.
func (c *chunk) reservation(o orderapi.Order, k kind, ended time.Time) {
	switch k.reservation {
	case "":
		return
	case "void":
		c.reservations.add(o.OrderNo, k.reservation, "", "", ended, ended, nil, nil, nil)
		return
	case "confirmed":
		for _, it := range o.Items {
			c.sold[productOf(it.SKU)] += it.Quantity
		}
	}
	if it := o.Items[0]; len(o.Items) == 1 && c.compact {
		c.reservations.add(o.OrderNo, k.reservation, "", o.Strategy, o.CreatedAt, ended, it.SKU, it.Quantity, it.UnitPriceCents)
		return
	}
	c.reservations.add(o.OrderNo, k.reservation, hashOf("", o.Items), o.Strategy, o.CreatedAt, ended, nil, nil, nil)
	for _, it := range o.Items {
		c.lines.add(o.OrderNo, it.SKU, it.Quantity, it.UnitPriceCents)
	}
}

// messages writes the messages that a group has sent: when its orders were placed, and when they ended.
func (c *chunk) messages(no string, at time.Time, k kind) {
	if k.status == orderapi.StatusRejected || k.status == orderapi.StatusAbandoned {
		return
	}
	shard := c.random.IntN(shards)
	c.outbox.add(no+":timeout", orderapi.TopicOrderTimeout, shard, no, `{"orders":["`+no+`"]}`, at.Add(expireAfter), at, at, 1)
	ended := at.Add(k.after)
	c.outbox.add(no+":"+k.status, orderapi.TopicOrderEvents, shard, no, `{"order_no":"`+no+`","status":"`+k.status+`"}`, nil, ended, ended, 1)
}

// placed is the stored answer of a placed order.
func placed(o orderapi.Order) string {
	body, _ := json.Marshal(o) // cannot fail: it has no maps, channels or functions
	return stored(body)
}

// refused is the stored answer of an order that found too few units.
func refused(o orderapi.Order) string {
	short := make([]inventoryapi.ShortLine, len(o.Items))
	for i, it := range o.Items {
		short[i] = inventoryapi.ShortLine{SKU: it.SKU, Requested: it.Quantity}
	}
	reply, _ := orderapi.Refused(context.Background(), o.OrderNo, inventoryapi.OutOfStock(short)) // cannot fail, as above
	return stored(reply.Body)
}

// stored is an answer as order-srv stores it: a JSON string of its body.
func stored(body []byte) string {
	text, _ := json.Marshal(string(body)) // cannot fail
	return string(text)
}

// hashOf is the hash of a request: its lines after a prefix, which is order-srv's strategy on a line of its own.
func hashOf(prefix string, items []orderapi.Item) string {
	h := sha256.New()
	fmt.Fprint(h, prefix)
	for _, it := range items {
		fmt.Fprintf(h, "%s %d\n", it.SKU, it.Quantity)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func skuOf(product int) string { return fmt.Sprintf("GENERATED-%03d", product+1) }

func productOf(sku string) int {
	var n int
	_, _ = fmt.Sscanf(sku, "GENERATED-%d", &n) // skuOf made it
	return n - 1
}

func titleOf(product int) string { return fmt.Sprintf("Generated product %d", product+1) }

func priceOf(product int) int64 { return int64(500 + 10*product) }

// rows is the text of rows in an INSERT statement.
type rows struct{ strings.Builder }

// digest is the first half of a hash in hexadecimal digits, written as bytes.
type digest string

// add adds a row of nil, string, digest, int, int64 and time.Time.
func (r *rows) add(columns ...any) {
	if r.Len() > 0 {
		r.WriteByte(',')
	}
	r.WriteByte('(')
	for i, c := range columns {
		if i > 0 {
			r.WriteByte(',')
		}
		switch c := c.(type) {
		case nil:
			r.WriteString("NULL")
		case string:
			r.WriteByte('\'')
			r.WriteString(escape(c))
			r.WriteByte('\'')
		case digest:
			r.WriteString("x'" + string(c[:32]) + "'")
		case time.Time:
			r.WriteString(c.UTC().Format("'2006-01-02 15:04:05.000000'"))
		default:
			fmt.Fprint(r, c)
		}
	}
	r.WriteByte(')')
}

// escape makes a generated text part of a statement. Its only special characters are those of JSON.
func escape(s string) string {
	if !strings.ContainsAny(s, `\'`) {
		return s
	}
	return strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s)
}
