package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"holdfast/internal/lab/shop"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/header"
	"holdfast/pkg/wait"
)

type orderCmd struct {
	SKU      string `help:"Product to buy; GET /v1/products lists all." required:"" name:"sku"`
	Quantity int64  `help:"Number of units." default:"1"`
	User     string `help:"Name of the buyer." default:"demo"`
	Strategy string `help:"Stock strategy for this order instead of the service's own (lab mode)."`
	Flow     string `help:"Flow of this order instead of the service's own (lab mode)."`
	Pay      bool   `help:"Pay the order at once."`
}

// Run places the order, waits while it is pending and, with --pay, pays it.
func (o *orderCmd) Run(ctx context.Context, c *cli, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	buyer, err := shop.Login(ctx, c.URL, o.User, orderapi.RoleBuyer)
	if err != nil {
		return err
	}
	placed, err := o.place(ctx, buyer, stdout)
	if err != nil {
		return explain(ctx, c.Dir, err)
	}
	if placed.Status == orderapi.StatusPlaced && o.Pay {
		if err := buyer.Do(ctx, http.MethodPost, "/v1/orders/"+placed.OrderNo+"/payment", nil, &placed); err != nil {
			return explain(ctx, c.Dir, fmt.Errorf("pay order %s: %w", placed.OrderNo, err))
		}
	}
	fmt.Fprintf(stdout, "order %s is %s\n", placed.OrderNo, placed.Status)
	if placed.Status != orderapi.StatusPlaced && placed.Status != orderapi.StatusPaid {
		return explain(ctx, c.Dir, errors.New(strings.TrimSpace(fmt.Sprintf("the order ended as %s %s", placed.Status, placed.Reason))))
	}
	for _, it := range placed.Items { // a placed order has titles and prices
		fmt.Fprintf(stdout, "  %d x %s (%s) at %s\n", it.Quantity, it.SKU, it.Title, money(it.UnitPriceCents))
	}
	fmt.Fprintf(stdout, "  total %s\n", money(placed.AmountCents))
	if placed.Status == orderapi.StatusPlaced && placed.ExpiresAt != nil {
		fmt.Fprintf(stdout, "  to be paid until %s\n", placed.ExpiresAt.Local().Format(time.DateTime))
	}
	return nil
}

func (o *orderCmd) place(ctx context.Context, buyer *shop.Client, stdout io.Writer) (orderapi.Order, error) {
	var placed orderapi.Order
	headers := []string{header.IdempotencyKey, ulid.Make().String()}
	if o.Strategy != "" {
		headers = append(headers, header.Strategy, o.Strategy)
	}
	if o.Flow != "" {
		headers = append(headers, header.Flow, o.Flow)
	}
	in := map[string]any{"items": []orderapi.PlaceItem{{SKU: o.SKU, Quantity: o.Quantity}}}
	if err := buyer.Do(ctx, http.MethodPost, "/v1/orders", in, &placed, headers...); err != nil {
		return placed, err
	}
	if placed.Status == orderapi.StatusPending {
		fmt.Fprintf(stdout, "order %s is still pending (202); waiting for the decision\n", placed.OrderNo)
	}
	for placed.Status == orderapi.StatusPending { // 202: a worker or the check-back decides
		if err := buyer.Do(ctx, http.MethodGet, "/v1/orders/"+placed.OrderNo+"?wait=10s", nil, &placed); err != nil {
			return placed, fmt.Errorf("read pending order %s: %w", placed.OrderNo, err)
		}
		if placed.Status != orderapi.StatusPending {
			break
		}
		// A gateway that has too many requests waiting answers at once.
		if err := wait.Sleep(ctx, 500*time.Millisecond); err != nil {
			return placed, fmt.Errorf("order %s is still pending: %w", placed.OrderNo, err)
		}
	}
	return placed, nil
}

func money(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }
