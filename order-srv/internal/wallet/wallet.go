// Package wallet is the service that keeps the buyers' money. It is a program of its own, "order-srv wallet": another
// process with another database, which order-srv reaches over HTTP alone. Only so can its calls be lost, repeated and
// reordered, which is what the flow tcc is about.
package wallet

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"

	"gorm.io/gorm"

	"holdfast/order-srv/internal/wallet/httpapi"
	"holdfast/order-srv/internal/wallet/store"
	"holdfast/pkg/config"
	"holdfast/pkg/database"
	"holdfast/pkg/server"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/web"
	"holdfast/sql"
)

// Service is the service's name in logs and metrics.
const Service = "wallet"

// OpeningCents is the opening balance of each wallet in lab mode.
const OpeningCents = 1_000_000

// Main runs a command of the wallet: serve, migrate or healthcheck, as order-srv has them.
func Main(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	cfg := Config{Log: telemetry.NewLogger(stdout, Service)}
	if err := config.Load(getenv, &cfg.Settings); err != nil {
		return err
	}
	command, err := server.Command(args, "migrate", "healthcheck")
	if err != nil {
		return err
	}
	if command == "healthcheck" {
		return server.Healthcheck(ctx, cfg.OpsAddr)
	}
	cfg.MigrateOnly = command == "migrate"
	return Run(ctx, cfg)
}

// Config is what the wallet is made of.
type Config struct {
	Settings
	Log         *slog.Logger
	MigrateOnly bool // return when the schema is up to date

	// The rest is for tests and the laboratory.

	Flaw    func(db *gorm.DB, right *store.Store) httpapi.Wallets // makes a wallet with a mistake; nil: the right one
	Started func(addr, opsAddr net.Addr)                          // called once when the service listens; nil: nothing
}

// Run brings the schema up to date and serves until ctx is done.
func Run(ctx context.Context, cfg Config) (err error) {
	db, err := database.Open(ctx, cfg.WalletDSN.Reveal(), database.Options{Log: cfg.Log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Close(db)) }()
	if err := database.Migrate(ctx, db, sql.Wallet(), cfg.Log); err != nil || cfg.MigrateOnly {
		return err
	}
	cfg.Log.InfoContext(ctx, "starting", "settings", &cfg.Settings)
	registry := telemetry.NewRegistry()
	return server.Run(ctx, server.Config{
		Service: Service, Addr: cfg.HTTPAddr, OpsAddr: cfg.OpsAddr, Registry: registry, Log: cfg.Log,
		RequestTimeout: cfg.RequestTimeout, DrainDelay: cfg.DrainDelay, Started: cfg.Started,
		Handler: httpapi.New(web.EngineConfig{ //nolint:contextcheck // its requests bring their own contexts
			Log: cfg.Log, Sampled: !cfg.LabMode, Registry: registry, Timeout: cfg.RequestTimeout, Credentials: cfg.AcceptedCredentials,
		}, cfg.wallets(db)),
		Checks: []server.Check{{Name: "mysql", Probe: database.Probe(db)}},
	})
}

func (cfg Config) wallets(db *gorm.DB) httpapi.Wallets {
	opening := int64(0)
	if cfg.LabMode {
		opening = OpeningCents
	}
	right := store.New(db, opening)
	if cfg.Flaw != nil {
		return cfg.Flaw(db, right)
	}
	return right
}
