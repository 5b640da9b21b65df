package app

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"gorm.io/gorm"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/database"
	"holdfast/pkg/rest"
)

// upkeepConns is how many connections to MySQL, to each inventory-srv and to each wallet the background work has:
// relay, check-back, healers, expiry, audit and readiness.
const upkeepConns = 16

// branchGrace is how long the recovery of the flow xa may take to abort an order that is older than SWEEP_AFTER.
const branchGrace = 30 * time.Second

// upkeep is what the background work uses of MySQL, of inventory-srv and of the wallet.
type upkeep struct {
	orders    *store.Store
	inventory *inventoryapi.Client
	client    *rest.Client // of inventory-srv
	wallet    *rest.Client
	db        *gorm.DB
}

// openUpkeep opens the background work's connections beside those of orders and calls.
func openUpkeep(ctx context.Context, cfg Settings, orders *store.Store, inventory, wallet rest.Config, log *slog.Logger) (*upkeep, error) {
	var u upkeep
	var errs [3]error
	inventory.MaxConns, wallet.MaxConns = upkeepConns, upkeepConns
	u.client, errs[0] = rest.New(inventory)
	u.wallet, errs[1] = rest.New(wallet)
	u.db, errs[2] = database.Open(ctx, cfg.MySQLDSN.Reveal(), database.Options{Log: log, MaxOpen: upkeepConns})
	if err := errors.Join(errs[:]...); err != nil {
		return nil, errors.Join(err, u.close())
	}
	u.orders, u.inventory = orders.On(u.db), inventoryapi.NewClient(u.client)
	return &u, nil
}

func (u *upkeep) close() error {
	for _, c := range []*rest.Client{u.client, u.wallet} {
		if c != nil {
			c.Close()
		}
	}
	if u.db == nil {
		return nil
	}
	return database.Close(u.db)
}
