package lesson

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"slices"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/pkg/rest"
)

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
	stockDSN, stock, err := e.database(ctx)
	if err != nil {
		return nil, err
	}
	s.stock = stock
	ordersDSN, orders, err := e.database(ctx)
	if err != nil {
		return nil, err
	}
	s.orders = orders
	var inventoryURLs, orderURLs []string
	for range peakReplicas {
		p, addr, err := e.startService(ctx, "inventory-srv", slices.Concat(common, []string{"MYSQL_DSN=" + stockDSN, "STOCK_STRATEGY=conditional"})...)
		if err != nil {
			return nil, err
		}
		s.inventories = append(s.inventories, p)
		inventoryURLs = append(inventoryURLs, "http://"+addr)
	}
	for range peakReplicas {
		_, addr, err := e.startService(ctx, "order-srv", slices.Concat(common, []string{
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
	return e.openClient(rest.Config{URLs: urls, Timeout: peakLimit, Name: name, MaxConns: maxBuyers})
}

// receive creates a product with units and returns its SKU.
func (s *peakShop) receive(ctx context.Context, units int64) (string, error) {
	product := fresh("MUG")
	return product, receive(ctx, s.inventory, product, units)
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
