package wallet

import (
	"errors"
	"log/slog"
	"time"

	"holdfast/pkg/config"
)

// Settings are the wallet's environment variables. The defaults are those of a stack that runs on this machine without
// containers.
type Settings struct {
	HTTPAddr string `env:"HTTP_ADDR" envDefault:":8083"`
	OpsAddr  string `env:"OPS_ADDR" envDefault:"127.0.0.1:9083"`

	config.ServiceCredential

	WalletDSN config.Secret `env:"WALLET_DSN" envDefault:"root@tcp(127.0.0.1:13306)/wallet"`
	LabMode   bool          `env:"LAB_MODE"` // each wallet opens with 1,000,000 cents

	RequestTimeout time.Duration `env:"REQUEST_TIMEOUT" envDefault:"3s"` // less than order-srv's

	// How long to serve after a stop signal, while /readyz fails and answers close their connections.
	DrainDelay time.Duration `env:"DRAIN_DELAY" envDefault:"500ms"`
}

var _ config.Validator = (*Settings)(nil)

// Validate implements config.Validator.
func (s *Settings) Validate() error {
	return errors.Join(
		s.ResolveCredential(s.HTTPAddr, s.LabMode),
		config.Check(s.WalletDSN != "", "WALLET_DSN", "is required"),
		config.Check(s.RequestTimeout >= 10*time.Millisecond && s.RequestTimeout <= time.Minute, "REQUEST_TIMEOUT", "is 10ms to 1m"),
		config.Check(s.DrainDelay >= 0 && s.DrainDelay <= time.Minute, "DRAIN_DELAY", "is 0s to 1m"),
	)
}

// LogValue implements slog.LogValuer, without secrets.
func (s *Settings) LogValue() slog.Value {
	return slog.GroupValue(slog.Bool("lab", s.LabMode), slog.Duration("request_timeout", s.RequestTimeout))
}
