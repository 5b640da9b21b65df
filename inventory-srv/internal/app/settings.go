package app

import (
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/config"
	"holdfast/pkg/lock"
)

// Settings are this service's environment variables. The defaults are those of a stack that runs on this machine
// without containers.
type Settings struct {
	HTTPAddr string `env:"HTTP_ADDR" envDefault:":8082"`
	OpsAddr  string `env:"OPS_ADDR" envDefault:"127.0.0.1:9082"`

	config.ServiceCredential

	MySQLDSN     config.Secret `env:"MYSQL_DSN" envDefault:"root@tcp(127.0.0.1:13306)/inventory"`
	RedisAddrs   []string      `env:"REDIS_ADDRS" envDefault:"127.0.0.1:16379"`
	RedlockAddrs []string      `env:"REDLOCK_ADDRS"` // independent nodes, an odd number; none: no strategy redlock
	NamesrvAddrs []string      `env:"NAMESRV_ADDRS" envDefault:"127.0.0.1:19876"`

	StockStrategy string `env:"STOCK_STRATEGY" envDefault:"redis-lock"`
	LabMode       bool   `env:"LAB_MODE"` // an order may name its own strategy, a product may be created for the lab

	// No replica of a version before compact reservations runs any more. The database keeps it.
	CompactReservations bool `env:"COMPACT_RESERVATIONS"`

	MQNamespace string `env:"MQ_NAMESPACE"`
	InstanceID  string `env:"INSTANCE_ID"` // unique per replica and the same after a restart; default a new one each time

	RequestTimeout time.Duration `env:"REQUEST_TIMEOUT" envDefault:"3s"`
	// A little more than REQUEST_TIMEOUT: a lease is not renewed in normal operation, and a holder that dies blocks its
	// SKUs for no longer than this.
	LockTTL time.Duration `env:"LOCK_TTL" envDefault:"4s"`

	// How old an order may be when its units are reserved, by the time in its number. It is more than any message with an
	// order is on its way: the tombstone that refuses a late reserve may be deleted a day after this time.
	ReserveHorizon time.Duration `env:"RESERVE_HORIZON" envDefault:"96h"`

	// The connections of mysql-lock's locks: one for each order that waits or works.
	MySQLLockPool int `env:"MYSQL_LOCK_POOL" envDefault:"32"`

	// Upper bounds of the calls in flight, by kind. Below them the limit follows the service time. Confirm and release are
	// not limited: order-srv's background work calls them, over few connections.
	MaxReserving int `env:"MAX_RESERVING" envDefault:"512"`
	MaxReading   int `env:"MAX_READING" envDefault:"128"` // of products

	// How long to serve after a stop was requested, while /readyz fails and answers ask to close their connections. More
	// than a load balancer needs to notice.
	DrainDelay time.Duration `env:"DRAIN_DELAY" envDefault:"500ms"`

	extra []strategy.Strategy // beside those of strategy.List, see Run
}

var _ config.Validator = (*Settings)(nil)

// Validate implements config.Validator.
func (s *Settings) Validate() error {
	all, err := strategy.With(s.extra)
	return errors.Join(
		err,
		s.ResolveCredential(s.HTTPAddr, s.LabMode),
		config.OneOf("STOCK_STRATEGY", s.StockStrategy, strategy.NamesOf(all)),
		config.Check(s.LabMode || !losesUpdates(all, s.StockStrategy), "STOCK_STRATEGY", "loses updates on purpose: only with LAB_MODE=true"),
		s.validateRedlock(),
		config.Check(s.MySQLDSN != "", "MYSQL_DSN", "is required"),
		config.Addresses("REDIS_ADDRS", s.RedisAddrs),
		config.Addresses("NAMESRV_ADDRS", s.NamesrvAddrs),
		config.Check(s.RequestTimeout >= 10*time.Millisecond && s.RequestTimeout <= time.Minute, "REQUEST_TIMEOUT", "is 10ms to 1m"),
		config.Check(s.LockTTL >= 100*time.Millisecond && s.LockTTL <= time.Minute, "LOCK_TTL", "is 100ms to 1m"),
		config.Check(s.ReserveHorizon >= time.Hour && s.ReserveHorizon <= 720*time.Hour, "RESERVE_HORIZON", "is 1h to 720h"),
		config.Check(s.MySQLLockPool >= 1 && s.MySQLLockPool <= 1_000, "MYSQL_LOCK_POOL", "is 1 to 1000"),
		config.Check(s.MaxReserving >= 1 && s.MaxReserving <= 10_000, "MAX_RESERVING", "is 1 to 10000"),
		config.Check(s.MaxReading >= 1 && s.MaxReading <= 10_000, "MAX_READING", "is 1 to 10000"),
		config.Check(s.DrainDelay >= 0 && s.DrainDelay <= time.Minute, "DRAIN_DELAY", "is 0s to 1m"),
	)
}

func (s *Settings) validateRedlock() error {
	if len(s.RedlockAddrs) == 0 {
		return nil
	}
	return errors.Join(
		config.Addresses("REDLOCK_ADDRS", s.RedlockAddrs),
		config.Check(len(s.RedlockAddrs) >= 3 && len(s.RedlockAddrs)%2 == 1, "REDLOCK_ADDRS", "is an odd number of nodes, three or more, or empty"),
	)
}

func losesUpdates(all []strategy.Strategy, name string) bool {
	return slices.ContainsFunc(all, func(s strategy.Strategy) bool { return s.Name == name && !s.Safe })
}

// LogValue implements slog.LogValuer for the first log line.
func (s *Settings) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("strategy", s.StockStrategy), slog.Bool("lab", s.LabMode),
		slog.Any("redis", s.RedisAddrs), slog.Any("redlock", s.RedlockAddrs), slog.Any("namesrv", s.NamesrvAddrs),
		slog.String("mq_namespace", s.MQNamespace), slog.String("instance", s.InstanceID),
		slog.Duration("request_timeout", s.RequestTimeout), slog.Duration("lock_ttl", s.LockTTL),
		slog.Duration("reserve_horizon", s.ReserveHorizon),
	)
}

// Config returns what the whole service is built from.
func (s *Settings) Config(log *slog.Logger, registry *prometheus.Registry) Config {
	return Config{
		Log: log, Registry: registry, DSN: s.MySQLDSN.Reveal(), FlushPool: true, LockPoolSize: s.MySQLLockPool,
		RedisAddrs: s.RedisAddrs, RedlockAddrs: s.RedlockAddrs, LockOptions: []lock.Option{lock.WithTTL(s.LockTTL)},
		Strategy: s.StockStrategy, Lab: s.LabMode, Compact: s.CompactReservations,
		Extra: s.extra, ReserveHorizon: s.ReserveHorizon,
	}
}
