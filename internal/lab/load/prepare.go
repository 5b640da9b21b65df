package load

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/lab/shop"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/orderapi"
)

const (
	stock  = 100_000_000 // units, more than the load can sell
	buyers = 10          // users, as in the other load tests
)

// Target describes the orders of a load.
type Target struct {
	Addr     string // host:port
	Name     string // begins each idempotency key
	Strategy string // header X-Stock-Strategy; "" for none
	Flow     string // header X-Order-Flow; "" for none
	Follow   bool   // an order that is answered 202 is followed until it is decided
	Tokens   []string
	Baskets  []string // bodies of the orders, sent in turn
}

// Basket is the body of an order of one unit of each SKU.
func Basket(skus ...string) string {
	lines := make([]string, len(skus))
	for i, sku := range skus {
		lines[i] = fmt.Sprintf(`{"sku":%q,"quantity":1}`, sku)
	}
	return `{"items":[` + strings.Join(lines, ",") + "]}"
}

// Prepare creates products, called name-1 and so on, with more stock than a load can sell, in the layout that the
// strategy needs, and the buyers' tokens. The target has no baskets yet.
func Prepare(ctx context.Context, admin *shop.Client, name, strategy string, products int) (t Target, skus []string, err error) {
	u, err := url.Parse(admin.URL)
	if err != nil || u.Scheme != "http" || u.Host == "" {
		return t, nil, fmt.Errorf("the URL %q is not of the form http://host:port", admin.URL)
	}
	t = Target{Addr: u.Host, Strategy: strategy, Name: name}
	layout, err := layoutOf(ctx, admin, strategy)
	if err != nil {
		return t, nil, err
	}
	for i := range products {
		sku := fmt.Sprintf("%s-%d", name, i+1)
		if err := create(ctx, admin, sku, layout); err != nil {
			return t, nil, err
		}
		skus = append(skus, sku)
	}
	for i := range buyers {
		client, err := shop.Login(ctx, admin.URL, buyer(i), orderapi.RoleBuyer)
		if err != nil {
			return t, nil, err
		}
		t.Tokens = append(t.Tokens, client.Token)
	}
	return t, skus, nil
}

// layoutOf returns the layout that the strategy needs.
func layoutOf(ctx context.Context, admin *shop.Client, strategy string) (string, error) {
	var known inventoryapi.Strategies
	if err := admin.Do(ctx, http.MethodGet, "/v1/admin/strategies", nil, &known); err != nil {
		return "", fmt.Errorf("list the strategies: %w", err)
	}
	if strategy == "" {
		strategy = known.Default
	}
	for _, k := range known.Strategies {
		if k.Name == strategy {
			return k.Layout, nil
		}
	}
	return "", fmt.Errorf("there is no strategy %q", strategy)
}

// Credit gives each buyer money for amount cents of orders in the flow tcc. The reference makes a repeat harmless.
func Credit(ctx context.Context, admin *shop.Client, amount int64, reference string) error {
	for i := range buyers {
		in := map[string]any{"amount_cents": amount, "reference": reference + "-" + buyer(i)}
		if err := admin.Do(ctx, http.MethodPost, "/v1/admin/wallets/"+buyer(i)+"/credits", in, nil); err != nil {
			return fmt.Errorf("credit %s: %w", buyer(i), err)
		}
	}
	return nil
}

func buyer(i int) string { return fmt.Sprintf("load-%d", i) }

func create(ctx context.Context, admin *shop.Client, sku, layout string) error {
	product := "/v1/admin/products/" + sku
	for _, call := range []struct {
		method, path string
		in           any
	}{
		{http.MethodPost, "/v1/admin/products", map[string]any{"sku": sku, "title": "Load test", "price_cents": 100}},
		{http.MethodPut, product + "/layout", map[string]any{"layout": layout}},
		{http.MethodPost, product + "/inbound", map[string]any{"quantity": stock, "reference": "load-" + sku, "reason": "load test"}},
	} {
		if err := admin.Do(ctx, call.method, call.path, call.in, nil); err != nil {
			return fmt.Errorf("%s %s: %w", call.method, call.path, err)
		}
	}
	return nil
}

// UniqueName returns a product name that no earlier load has: prefix and the time.
func UniqueName(prefix string) string {
	return strings.ToUpper(prefix + "-" + strconv.FormatInt(time.Now().UnixMilli(), 36))
}
