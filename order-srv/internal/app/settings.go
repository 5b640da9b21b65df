package app

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/notify"
	"holdfast/pkg/config"
)

// maxPaymentWindow is how far ahead the broker delivers a delayed message.
const maxPaymentWindow = 72 * time.Hour

// Settings are this service's environment variables. The defaults are those of a stack that runs on this machine
// without containers.
type Settings struct {
	HTTPAddr string `env:"HTTP_ADDR" envDefault:":8081"`
	OpsAddr  string `env:"OPS_ADDR" envDefault:"127.0.0.1:9081"`

	config.ServiceCredential

	MySQLDSN      config.Secret `env:"MYSQL_DSN" envDefault:"root@tcp(127.0.0.1:13306)/orders"`
	NamesrvAddrs  []string      `env:"NAMESRV_ADDRS" envDefault:"127.0.0.1:19876"`
	InventoryURLs []string      `env:"INVENTORY_URLS" envDefault:"http://127.0.0.1:8082"`
	WalletURLs    []string      `env:"WALLET_URLS" envDefault:"http://127.0.0.1:8083"` // only the flow tcc calls it

	OrderFlow   string `env:"ORDER_FLOW" envDefault:"tx-message"`
	LabMode     bool   `env:"LAB_MODE"` // an order may name its strategy
	MQNamespace string `env:"MQ_NAMESPACE"`
	LeanOrders  bool   `env:"LEAN_ORDERS"` // no replica of an earlier version runs any more, see store.WriteLean
	InstanceID  string `env:"INSTANCE_ID"` // unique per replica and the same after a restart; default a new one each time

	// Each timer must leave the earlier ones their time: see Validate.
	RequestTimeout time.Duration `env:"REQUEST_TIMEOUT" envDefault:"4s"`
	PendingGrace   time.Duration `env:"PENDING_GRACE" envDefault:"10s"`   // a younger PENDING order is being placed
	SweepAfter     time.Duration `env:"SWEEP_AFTER" envDefault:"30s"`     // the sweeper abandons and expires
	SettleAfter    time.Duration `env:"SETTLE_AFTER" envDefault:"2s"`     // the reconciler asks inventory
	ReconcileAfter time.Duration `env:"RECONCILE_AFTER" envDefault:"60s"` // the reconciler confirms or releases
	QueueTimeout   time.Duration `env:"QUEUE_TIMEOUT" envDefault:"60s"`   // for an order that waits
	PaymentTimeout time.Duration `env:"PAYMENT_TIMEOUT" envDefault:"15m"`

	// The age at which orders leave: paid ones are archived, the others deleted, and their idempotency keys are free.
	// "off" or 0: never, as in lab mode.
	Retention Retention `env:"RETENTION" envDefault:"2160h"`

	// The pauses after failed attempts to notify a buyer, or a factor of the defaults. After the last one there is one
	// more attempt.
	NotifyDelays notify.Delays `env:"NOTIFY_DELAYS" envDefault:"1s,5s,30s,5m,1h,6h,24h"`
	// Special addresses that a webhook may have: prefixes, and own-networks in lab mode.
	WebhookAllow []string `env:"WEBHOOK_ALLOW"`

	QueueMax int `env:"QUEUE_MAX" envDefault:"10000"` // orders that may wait in the queue of the flow queue

	// Upper bounds of the requests in flight, by kind. Below them the limit follows the service time.
	MaxPlacing  int `env:"MAX_PLACING" envDefault:"1024"`
	MaxChanging int `env:"MAX_CHANGING" envDefault:"64"` // paying and cancelling
	MaxReading  int `env:"MAX_READING" envDefault:"128"`

	// The broker's settings for transactions, as deploy/rocketmq/broker.conf has them. They do not configure the broker.
	// The broker asks about a half message for the first time when it is as old as the time-out. Its order must be old
	// enough by then to be decided. The check-back decides some thousand orders a second: within an interval it decides
	// all that its memory holds (recovery.DefaultCheckMemory).
	BrokerTransactionTimeout time.Duration `env:"BROKER_TRANSACTION_TIMEOUT" envDefault:"12s"` // transactionTimeOut
	BrokerCheckInterval      time.Duration `env:"BROKER_CHECK_INTERVAL" envDefault:"5s"`       // transactionCheckInterval

	// How long the service serves after a stop signal. /readyz fails meanwhile, and answers close their connections. It is
	// more than a load balancer needs to notice.
	DrainDelay time.Duration `env:"DRAIN_DELAY" envDefault:"500ms"`
}

// leastRetention is more than a week of dead letters, and than inventory-srv's RESERVE_HORIZON with its margin: the
// tombstones of orders that left are not needed any more.
const leastRetention = 168 * time.Hour

// Retention is how long orders are kept; 0: they never leave.
type Retention time.Duration

// UnmarshalText reads a duration, or "off".
func (r *Retention) UnmarshalText(text []byte) error {
	if string(text) == "off" || string(text) == "0" {
		*r = 0
		return nil
	}
	d, err := time.ParseDuration(string(text))
	*r = Retention(d)
	return err
}

// retention is how long orders are kept; 0: they never leave. In lab mode they never leave either.
func (s *Settings) retention() time.Duration {
	if s.LabMode {
		return 0
	}
	return time.Duration(s.Retention)
}

var _ config.Validator = (*Settings)(nil)

// Validate implements config.Validator. The relations between the timers keep the healers from orders that are still
// being placed.
func (s *Settings) Validate() error {
	return errors.Join(
		s.ResolveCredential(s.HTTPAddr, s.LabMode),
		config.OneOf("ORDER_FLOW", s.OrderFlow, flow.Names()),
		config.Check(s.MySQLDSN != "", "MYSQL_DSN", "is required"),
		config.Addresses("NAMESRV_ADDRS", s.NamesrvAddrs),
		config.Check(len(s.InventoryURLs) > 0, "INVENTORY_URLS", "needs at least one URL"),
		config.Check(len(s.WalletURLs) > 0, "WALLET_URLS", "needs at least one URL"),
		config.Check(s.RequestTimeout >= time.Second && s.RequestTimeout <= time.Minute, "REQUEST_TIMEOUT", "is 1s to 1m"),
		config.Check(s.PendingGrace > s.RequestTimeout, "PENDING_GRACE", "is more than REQUEST_TIMEOUT: an order that is being placed must not be abandoned"),
		config.Check(s.PendingGrace <= s.BrokerTransactionTimeout, "BROKER_TRANSACTION_TIMEOUT", "is at least PENDING_GRACE: the check-back could not answer the broker's first question"),
		config.Check(s.BrokerCheckInterval >= time.Second, "BROKER_CHECK_INTERVAL", "is at least 1s"),
		config.Check(s.SweepAfter > s.PendingGrace, "SWEEP_AFTER", "is more than PENDING_GRACE: the check-back comes first"),
		config.Check(s.QueueTimeout >= s.PendingGrace, "QUEUE_TIMEOUT", "is at least PENDING_GRACE: an order that is being placed must not be abandoned"),
		config.Check(s.SettleAfter > 0, "SETTLE_AFTER", "is more than 0"),
		config.Check(s.ReconcileAfter > s.SettleAfter && s.ReconcileAfter > s.SweepAfter, "RECONCILE_AFTER", "is more than SETTLE_AFTER and SWEEP_AFTER: messages come first"),
		config.Check(s.PaymentTimeout > s.RequestTimeout, "PAYMENT_TIMEOUT", "is more than REQUEST_TIMEOUT: it begins when the order is written, before it is placed"),
		config.Check(s.PaymentTimeout <= maxPaymentWindow, "PAYMENT_TIMEOUT", "is at most 72h, the broker's limit"),
		config.Check(s.Retention == 0 || time.Duration(s.Retention) >= leastRetention, "RETENTION", "is off, or at least 168h: inventory refuses late reserves of younger orders by their tombstones"),
		s.validateWebhooks(),
		config.Check(s.QueueMax >= 1 && s.QueueMax <= 1_000_000, "QUEUE_MAX", "is 1 to 1000000"),
		config.Check(inRange(s.MaxPlacing), "MAX_PLACING", "is 1 to 10000"),
		config.Check(inRange(s.MaxChanging), "MAX_CHANGING", "is 1 to 10000"),
		config.Check(inRange(s.MaxReading), "MAX_READING", "is 1 to 10000"),
		config.Check(s.DrainDelay >= 0 && s.DrainDelay <= time.Minute, "DRAIN_DELAY", "is 0s to 1m"),
	)
}

func (s *Settings) validateWebhooks() error {
	if slices.Contains(s.WebhookAllow, notify.OwnNetworks) && !s.LabMode {
		return errors.New("WEBHOOK_ALLOW: own-networks is for lab mode: buyers could call the databases")
	}
	if _, err := notify.NewGuard(s.WebhookAllow); err != nil {
		return fmt.Errorf("WEBHOOK_ALLOW: %w", err)
	}
	return nil
}

func inRange(limit int) bool { return limit >= 1 && limit <= 10_000 }

// LogValue implements slog.LogValuer, without secrets.
func (s *Settings) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("flow", s.OrderFlow), slog.Bool("lab", s.LabMode),
		slog.Any("namesrv", s.NamesrvAddrs), slog.Any("inventory", s.InventoryURLs), slog.Any("wallet", s.WalletURLs),
		slog.String("mq_namespace", s.MQNamespace), slog.String("instance", s.InstanceID),
		slog.Duration("request_timeout", s.RequestTimeout), slog.Duration("pending_grace", s.PendingGrace),
		slog.Duration("sweep_after", s.SweepAfter), slog.Duration("reconcile_after", s.ReconcileAfter),
		slog.Duration("queue_timeout", s.QueueTimeout),
		slog.Any("notify_delays", []time.Duration(s.NotifyDelays)), slog.Any("webhook_allow", s.WebhookAllow),
		slog.Duration("payment_timeout", s.PaymentTimeout), slog.Duration("retention", s.retention()),
		slog.Duration("broker_transaction_timeout", s.BrokerTransactionTimeout), slog.Duration("broker_check_interval", s.BrokerCheckInterval),
	)
}
