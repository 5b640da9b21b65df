// Package orderlab opens order-srv to what is no service: a process of the laboratory runs the whole service on servers
// of its choice, so that a lesson can kill, freeze and restart it. Production code must not import it.
package orderlab

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"

	"holdfast/order-srv/internal/app"
	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/wallet"
	"holdfast/order-srv/internal/wallet/flawed"
	"holdfast/pkg/config"
)

// Flows returns the names of all flows, in the order of the documentation.
func Flows() []string { return flow.Names() }

// Config says on which servers to work and how.
type Config struct {
	// Settings are the service's environment variables (docs/running.md). MYSQL_DSN, NAMESRV_ADDRS and INVENTORY_URLS are
	// needed. LAB_MODE is true, and the ports are free ones of 127.0.0.1, unless Settings says otherwise.
	Settings map[string]string
	Log      *slog.Logger // default: none

	// NoCheckBack answers all questions of the broker about half messages with "unknown".
	NoCheckBack bool
	// Published is called when the relay has sent a message and has not marked it; the message is not marked before
	// Published returns. Nil: nothing is called.
	Published func()
	// Started is called once, with the addresses of the service and of its operations port.
	Started func(addr, opsAddr net.Addr)
}

// Serve brings the schema up to date and runs the service as its program does, until ctx is done. Errors: settings that
// do not fit, servers that cannot be reached, and requests that were still running at the end.
func Serve(ctx context.Context, cfg Config) (err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	settings := map[string]string{"LAB_MODE": "true", "HTTP_ADDR": "127.0.0.1:0", "OPS_ADDR": "127.0.0.1:0", "DRAIN_DELAY": "0s"}
	maps.Copy(settings, cfg.Settings)
	parts := app.Config{Log: cfg.Log, NoCheckBack: cfg.NoCheckBack, Published: cfg.Published, Started: cfg.Started}
	if err := config.Load(func(name string) string { return settings[name] }, &parts.Settings); err != nil {
		return err
	}
	a, err := app.Open(ctx, parts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	if err := a.Migrate(ctx); err != nil {
		return err
	}
	return a.Run(ctx)
}

// WalletConfig says on which database the wallet works and how.
type WalletConfig struct {
	// Settings are the wallet's environment variables (docs/running.md). WALLET_DSN is needed. LAB_MODE is true, and the
	// ports are free ones of 127.0.0.1, unless Settings says otherwise.
	Settings map[string]string
	Log      *slog.Logger // default: none

	// Mistake is the guard that the wallet lacks, one of those of the package flawed; "": it lacks none.
	Mistake string
	// Started is called once, with the addresses of the service and of its operations port.
	Started func(addr, opsAddr net.Addr)
}

// ServeWallet brings the schema up to date and runs the wallet as its program does, until ctx is done. Errors: settings
// that do not fit, an unknown mistake, a server that cannot be reached, and requests that were still running at the
// end.
func ServeWallet(ctx context.Context, cfg WalletConfig) error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	settings := map[string]string{"LAB_MODE": "true", "HTTP_ADDR": "127.0.0.1:0", "OPS_ADDR": "127.0.0.1:0", "DRAIN_DELAY": "0s"}
	maps.Copy(settings, cfg.Settings)
	parts := wallet.Config{Log: cfg.Log, Started: cfg.Started}
	if err := config.Load(func(name string) string { return settings[name] }, &parts.Settings); err != nil {
		return err
	}
	if cfg.Mistake != "" {
		m, err := flawed.Find(cfg.Mistake)
		if err != nil {
			return err
		}
		parts.Flaw = m.Make
	}
	return wallet.Run(ctx, parts)
}
