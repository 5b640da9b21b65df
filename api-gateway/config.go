package main

import (
	"errors"
	"log/slog"
	"time"

	"holdfast/pkg/config"
)

// demoSecret is in everybody's hands. It is the default so that a first start needs no setting, and it is refused
// wherever logins are not for demonstration anyway.
const demoSecret = "holdfast-demo-secret-change-me-0123456789"

// minSecret is HS256's own size, in bytes: a shorter secret is the weakest part of the signature.
const minSecret = 32

// settings are this service's environment variables. The defaults are those of a stack that runs on this machine
// without containers.
type settings struct {
	HTTPAddr string `env:"HTTP_ADDR" envDefault:":8080"`
	OpsAddr  string `env:"OPS_ADDR" envDefault:"127.0.0.1:9080"`

	config.ServiceCredential

	OrderURLs     []string `env:"ORDER_URLS" envDefault:"http://127.0.0.1:8081"`
	InventoryURLs []string `env:"INVENTORY_URLS" envDefault:"http://127.0.0.1:8082"`

	JWTSecret config.Secret `env:"JWT_SECRET" envDefault:"holdfast-demo-secret-change-me-0123456789"`
	DemoLogin bool          `env:"DEMO_LOGIN"` // POST /v1/login gives anybody a token
	LabMode   bool          `env:"LAB_MODE"`   // an order may name its own strategy

	RequestTimeout time.Duration `env:"REQUEST_TIMEOUT" envDefault:"5s"` // more than order-srv's

	// Upper bounds of the requests in flight, by kind. Below them the limit follows the service time.
	MaxPlacing  int `env:"MAX_PLACING" envDefault:"256"`
	MaxChanging int `env:"MAX_CHANGING" envDefault:"64"` // paying and cancelling
	MaxReading  int `env:"MAX_READING" envDefault:"128"`

	// How long to go on after a stop was asked for: /readyz fails and answers ask to close their connections meanwhile. More
	// than a load balancer needs to notice.
	DrainDelay time.Duration `env:"DRAIN_DELAY" envDefault:"500ms"`
}

var _ config.Validator = (*settings)(nil)

// Validate implements config.Validator. The URLs are checked by the clients made from them.
func (s *settings) Validate() error {
	return errors.Join(
		s.ResolveCredential(s.HTTPAddr, s.LabMode),
		config.Check(len(s.OrderURLs) > 0, "ORDER_URLS", "needs at least one http://host:port"),
		config.Check(len(s.InventoryURLs) > 0, "INVENTORY_URLS", "needs at least one http://host:port"),
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

// LogValue implements slog.LogValuer with what one wants to see in the first log line.
func (s *settings) LogValue() slog.Value {
	return slog.GroupValue(
		slog.Any("order_urls", s.OrderURLs), slog.Any("inventory_urls", s.InventoryURLs),
		slog.Bool("demo_login", s.DemoLogin), slog.Bool("lab", s.LabMode), slog.Duration("request_timeout", s.RequestTimeout),
	)
}
