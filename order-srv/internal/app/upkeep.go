package app

import (
	"context"
	"log/slog"

	"gorm.io/gorm"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/database"
	"holdfast/pkg/rest"
)

// upkeepConns is how many connections to MySQL, and to each inventory-srv, the background work has: relay, check-back,
// healers, expiry, audit and readiness.
const upkeepConns = 16

// upkeep is what the background work uses of MySQL and of inventory-srv.
type upkeep struct {
	orders    *store.Store
	inventory *inventoryapi.Client
	client    *rest.Client
	db        *gorm.DB
}

// openUpkeep opens the background work's connections beside those of orders and calls.
func openUpkeep(ctx context.Context, cfg Settings, orders *store.Store, calls rest.Config, log *slog.Logger) (*upkeep, error) {
	calls.MaxConns = upkeepConns
	client, err := rest.New(calls)
	if err != nil {
		return nil, err
	}
	db, err := database.Open(ctx, cfg.MySQLDSN.Reveal(), database.Options{Log: log, MaxOpen: upkeepConns})
	if err != nil {
		client.Close()
		return nil, err
	}
	return &upkeep{orders: orders.On(db), inventory: inventoryapi.NewClient(client), client: client, db: db}, nil
}

func (u *upkeep) close() error {
	u.client.Close()
	return database.Close(u.db)
}
