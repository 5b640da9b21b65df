package lesson

import (
	"context"
	stdsql "database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
	"holdfast/order-srv/orderlab"
	"holdfast/pkg/config"
	"holdfast/pkg/rest"
)

// peakRoles are the processes of the lesson: whole services, whose settings are their arguments.
func peakRoles() map[string]Role {
	settings := func(c *Child) map[string]string {
		values := map[string]string{}
		for _, arg := range c.Args {
			name, value, _ := strings.Cut(arg, "=")
			values[name] = value
		}
		return values
	}
	started := func(c *Child) func(addr, opsAddr net.Addr) {
		return func(addr, opsAddr net.Addr) { c.Report("serves %s %s", addr, opsAddr) }
	}
	return map[string]Role{
		"inventory-srv": func(ctx context.Context, c *Child) error {
			return inventorylab.Serve(ctx, inventorylab.ServiceConfig{Settings: settings(c), Started: started(c)})
		},
		"order-srv": func(ctx context.Context, c *Child) error {
			return orderlab.Serve(ctx, orderlab.Config{Settings: settings(c), Started: started(c)})
		},
	}
}

// peakShop is a shop of two replicas of each service, with databases and a namespace of its own.
type peakShop struct {
	e           *Env
	orders      *stdsql.DB
	stock       *stdsql.DB
	inventory   *inventoryapi.Client
	inventories []*Process
	buyers      *rest.Client // of order-srv
}

// peakShop starts the services, which end with the scene, or with the lesson if no scene is open. settings are those
// of order-srv.
func (e *Env) peakShop(ctx context.Context, b *broker, settings ...string) (*peakShop, error) {
	namespace := b.namespace()
	common := []string{"NAMESRV_ADDRS=" + b.addr, "MQ_NAMESPACE=" + namespace, "LAB_MODE=true"}
	s := &peakShop{e: e}
	stockDSN, stock, err := e.peakDatabase(ctx)
	if err != nil {
		return nil, err
	}
	s.stock = stock
	ordersDSN, orders, err := e.peakDatabase(ctx)
	if err != nil {
		return nil, err
	}
	s.orders = orders
	var inventoryURLs, orderURLs []string
	for range peakReplicas {
		p, addr, err := e.peakService(ctx, "inventory-srv", slices.Concat(common, []string{"MYSQL_DSN=" + stockDSN, "STOCK_STRATEGY=conditional"})...)
		if err != nil {
			return nil, err
		}
		s.inventories = append(s.inventories, p)
		inventoryURLs = append(inventoryURLs, "http://"+addr)
	}
	for range peakReplicas {
		_, addr, err := e.peakService(ctx, "order-srv", slices.Concat(common, []string{
			"MYSQL_DSN=" + ordersDSN, "INVENTORY_URLS=" + inventoryURLs[0] + "," + inventoryURLs[1],
		}, settings)...)
		if err != nil {
			return nil, err
		}
		orderURLs = append(orderURLs, "http://"+addr)
	}
	stocker, err := e.peakClient("inventory", inventoryURLs)
	if err != nil {
		return nil, err
	}
	s.inventory = inventoryapi.NewClient(stocker)
	s.buyers, err = e.peakClient("order", orderURLs)
	return s, err
}

// peakClient returns a client of all replicas, with a connection for each buyer.
func (e *Env) peakClient(name string, urls []string) (*rest.Client, error) {
	client, err := rest.New(rest.Config{
		URLs: urls, Timeout: peakLimit, Name: name, MaxConns: maxBuyers, Log: slog.New(slog.DiscardHandler),
		Credential: config.DemoServiceCredential,
	})
	if err != nil {
		return nil, err
	}
	e.Clean(func(context.Context) error {
		client.Close()
		return nil
	})
	return client, nil
}

// receive creates a product with units and returns its SKU.
func (s *peakShop) receive(ctx context.Context, units int64) (string, error) {
	product := fresh("MUG")
	if _, err := s.inventory.CreateProduct(ctx, inventoryapi.CreateProductRequest{SKU: product, Title: product, PriceCents: 100}); err != nil {
		return "", err
	}
	_, err := s.inventory.Inbound(ctx, product, inventoryapi.InboundRequest{Quantity: units, Reference: product, Reason: "lesson", Actor: "lesson"})
	return product, err
}

// peakDatabase creates a database of the lesson and opens a pool to it.
func (e *Env) peakDatabase(ctx context.Context) (dsn string, db *stdsql.DB, err error) {
	if dsn, err = e.DSN(ctx); err != nil {
		return "", nil, err
	}
	db, closing, err := openPool(ctx, dsn)
	if err != nil {
		return "", nil, err
	}
	e.Clean(func(context.Context) error { return closing() })
	return dsn, db, nil
}

// peakService starts a service and returns its address when it reaches the other servers.
func (e *Env) peakService(ctx context.Context, role string, settings ...string) (p *Process, addr string, err error) {
	if p, err = e.Start(role, settings...); err != nil {
		return nil, "", err
	}
	e.Clean(func(context.Context) error { return p.Kill() }) // its data is thrown away
	addrs, err := p.Await(ctx, "serves")
	if err != nil {
		return nil, "", err
	}
	addr, ops, _ := strings.Cut(addrs, " ")
	return p, addr, e.Until(ctx, role+" is ready", func(ctx context.Context) (bool, error) { return peakReady(ctx, ops) })
}

// peakReady reports whether a service with this operations port reaches what the lesson needs; Redis is not needed.
func peakReady(ctx context.Context, ops string) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ops+"/readyz", nil)
	if err != nil {
		return false, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, err
	}
	defer res.Body.Close() //nolint:errcheck // read only
	var found struct {
		Checks map[string]string `json:"checks"`
	}
	if err := json.NewDecoder(res.Body).Decode(&found); err != nil {
		return false, err
	}
	for _, name := range []string{"mysql", "broker", "inventory"} {
		if state, checked := found.Checks[name]; checked && state != "ok" {
			return false, nil
		}
	}
	return true, nil
}

func (s *peakShop) eachInventory(f func(*Process) error) error {
	for _, p := range s.inventories {
		if err := f(p); err != nil {
			return err
		}
	}
	return nil
}

// look shows how many orders wait in the queue.
func (s *peakShop) look(ctx context.Context) (step.View, error) {
	var n int
	err := s.orders.QueryRowContext(ctx, "SELECT COUNT(*) FROM queued_orders").Scan(&n)
	return step.View{Name: step.T("peak-shaving.queue-rows"), Rows: []string{fmt.Sprint(n)}}, err
}
