package app

import (
	"errors"
	"log/slog"
	"time"

	"holdfast/pkg/config"
)

// demoSecret is published with the source. It is the default, so that a first start needs no setting, and works with
// the demo login only.
const demoSecret = "holdfast-demo-secret-change-me-0123456789"

// minSecret is the size of an HS256 signature in bytes. A shorter secret is easier to guess than the signature.
const minSecret = 32

// Settings are the gateway's environment variables. The defaults are those of a stack that runs on one machine without
// containers.
type Settings struct {
	HTTPAddr string `env:"HTTP_ADDR" envDefault:":8080"`
	OpsAddr  string `env:"OPS_ADDR" envDefault:"127.0.0.1:9080"`

	config.ServiceCredential

	OrderURLs     []string `env:"ORDER_URLS" envDefault:"http://127.0.0.1:8081"`
	InventoryURLs []string `env:"INVENTORY_URLS" envDefault:"http://127.0.0.1:8082"`
	WalletURLs    []string `env:"WALLET_URLS" envDefault:"http://127.0.0.1:8083"`

	JWTSecret config.Secret `env:"JWT_SECRET" envDefault:"holdfast-demo-secret-change-me-0123456789"`
	DemoLogin bool          `env:"DEMO_LOGIN"` // POST /v1/login returns a token for any name
	LabMode   bool          `env:"LAB_MODE"`   // an order may name its own strategy

	RequestTimeout time.Duration `env:"REQUEST_TIMEOUT" envDefault:"5s"` // more than order-srv's

	// The most requests in flight, by kind. Below these bounds the limits follow the service time.
	MaxPlacing  int `env:"MAX_PLACING" envDefault:"1024"`
	MaxChanging int `env:"MAX_CHANGING" envDefault:"64"` // paying and cancelling
	MaxReading  int `env:"MAX_READING" envDefault:"128"`

	// Orders that arrive while calls to order-srv are under way share the next call. Switch it off to compare.
	GatherOrders bool `env:"GATHER_ORDERS" envDefault:"true"`

	// The time between the request to stop and the end of serving. Meanwhile /readyz fails and answers close their
	// connections. It is longer than a load balancer needs to notice.
	DrainDelay time.Duration `env:"DRAIN_DELAY" envDefault:"500ms"`
}

var _ config.Validator = (*Settings)(nil)

// Validate implements config.Validator. The clients check their URLs.
func (s *Settings) Validate() error {
	return errors.Join(
		s.ResolveCredential(s.HTTPAddr, s.LabMode),
		config.Check(len(s.OrderURLs) > 0, "ORDER_URLS", "needs at least one http://host:port"),
		config.Check(len(s.InventoryURLs) > 0, "INVENTORY_URLS", "needs at least one http://host:port"),
		config.Check(len(s.WalletURLs) > 0, "WALLET_URLS", "needs at least one http://host:port"),
		config.Check(len(s.JWTSecret) >= minSecret, "JWT_SECRET", "needs at least 32 bytes"),
		config.Check(s.JWTSecret != demoSecret || s.DemoLogin, "JWT_SECRET", "is required: the demo secret works only with DEMO_LOGIN=true"),
		config.Check(s.RequestTimeout >= 10*time.Millisecond && s.RequestTimeout <= time.Minute, "REQUEST_TIMEOUT", "is 10ms to 1m"),
		config.Check(inRange(s.MaxPlacing), "MAX_PLACING", "is 1 to 10000"),
		config.Check(inRange(s.MaxChanging), "MAX_CHANGING", "is 1 to 10000"),
		config.Check(inRange(s.MaxReading), "MAX_READING", "is 1 to 10000"),
		config.Check(s.DrainDelay >= 0 && s.DrainDelay <= time.Minute, "DRAIN_DELAY", "is 0s to 1m"),
	)
}

func inRange(limit int) bool { return limit >= 1 && limit <= 10_000 }

// LogValue implements slog.LogValuer with the settings that the first log line shows.
func (s *Settings) LogValue() slog.Value {
	return slog.GroupValue(
		slog.Any("order_urls", s.OrderURLs), slog.Any("inventory_urls", s.InventoryURLs),
		slog.Bool("demo_login", s.DemoLogin), slog.Bool("lab", s.LabMode), slog.Duration("request_timeout", s.RequestTimeout),
	)
}
