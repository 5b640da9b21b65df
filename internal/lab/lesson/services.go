package lesson

import (
	"context"
	stdsql "database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
	"holdfast/order-srv/orderapi"
	"holdfast/order-srv/orderlab"
	"holdfast/pkg/config"
	"holdfast/pkg/mq"
	"holdfast/pkg/mq/devbroker"
	"holdfast/pkg/rest"
)

// services are inventory-srv and order-srv in processes of their own, with a database each, and a development broker
// in this process. order-srv reaches inventory-srv over a cable.
type services struct {
	e                   *Env
	broker              *devbroker.Broker
	ordersDSN, stockDSN string
	orders, stock       *stdsql.DB
	inventory           *inventoryapi.Client
	cable               *cable
	released            *deliveries      // of the topic stock-release
	order               *Process         // nil before it was started
	client              *orderapi.Client // of order
}

// The broker asks about a half message when it is older than transactionTimeout, and again after checkInterval.
const (
	transactionTimeout = 2200 * time.Millisecond
	checkInterval      = time.Second
)

// orderTimers are order-srv's settings for a lesson: the check-back decides after seconds, and nothing else does.
func orderTimers() []string {
	return []string{
		"REQUEST_TIMEOUT=2s", "PENDING_GRACE=2100ms", "BROKER_TRANSACTION_TIMEOUT=" + transactionTimeout.String(),
		"BROKER_CHECK_INTERVAL=" + checkInterval.String(), "SWEEP_AFTER=24h", "SETTLE_AFTER=24h", "RECONCILE_AFTER=25h", "QUEUE_TIMEOUT=24h", "PAYMENT_TIMEOUT=1h",
	}
}

// serviceRoles are the roles of a lesson that uses services.
func serviceRoles() map[string]Role {
	return map[string]Role{
		"inventory-srv": func(ctx context.Context, c *Child) error {
			return inventorylab.Serve(ctx, inventorylab.ServiceConfig{Settings: settingsOf(c.Args), Started: c.serves})
		},
		"order-srv": func(ctx context.Context, c *Child) error {
			return orderlab.Serve(ctx, orderlab.Config{Settings: settingsOf(c.Args), Started: c.serves})
		},
		"order-srv-without-check-back": func(ctx context.Context, c *Child) error {
			return orderlab.Serve(ctx, orderlab.Config{Settings: settingsOf(c.Args), Started: c.serves, NoCheckBack: true})
		},
	}
}

func (c *Child) serves(addr, opsAddr net.Addr) { c.Report("serves %s %s", addr, opsAddr) }

func settingsOf(args []string) map[string]string {
	settings := map[string]string{}
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		settings[name] = value
	}
	return settings
}

// services starts everything but order-srv. It ends with the lesson.
func (e *Env) services(ctx context.Context) (*services, error) {
	s, err := e.serversOfServices(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.startInventory(ctx, "inventory-srv", "MYSQL_DSN="+s.stockDSN, "NAMESRV_ADDRS="+s.broker.Addr(), "STOCK_STRATEGY=conditional"); err != nil {
		return nil, err
	}
	s.released, err = e.listen(ctx, s.broker.Addr(), orderapi.TopicStockRelease)
	return s, err
}

// serversOfServices starts the broker and creates the databases.
func (e *Env) serversOfServices(ctx context.Context) (_ *services, err error) {
	s := &services{e: e}
	s.broker, err = devbroker.Start(devbroker.Options{TransactionTimeout: transactionTimeout, CheckInterval: checkInterval, CheckMax: 1_000_000})
	if err != nil {
		return nil, err
	}
	e.Clean(func(context.Context) error { return s.broker.Close() })
	if s.ordersDSN, s.orders, err = e.database(ctx); err != nil {
		return nil, err
	}
	s.stockDSN, s.stock, err = e.database(ctx)
	return s, err
}

// startInventory starts inventory-srv, and opens a client and a cable to it.
func (s *services) startInventory(ctx context.Context, role string, settings ...string) error {
	_, addr, err := s.e.startService(ctx, role, settings...)
	if err != nil {
		return err
	}
	if s.cable, err = s.e.cable(ctx, addr); err != nil {
		return err
	}
	client, err := s.e.restClient("inventory", addr)
	if err != nil {
		return err
	}
	s.inventory = inventoryapi.NewClient(client)
	return nil
}

// database creates a database of the lesson and opens a pool to it.
func (e *Env) database(ctx context.Context) (dsn string, db *stdsql.DB, err error) {
	if dsn, err = e.DSN(ctx); err != nil {
		return "", nil, err
	}
	db, closing, err := openPool(ctx, dsn)
	if err != nil {
		return "", nil, err
	}
	e.Clean(func(context.Context) error { return closing() })
	return dsn, db, nil
}

// startService starts a service and returns its address when it serves and reaches the others.
func (e *Env) startService(ctx context.Context, role string, settings ...string) (p *Process, addr string, err error) {
	if p, err = e.Start(role, settings...); err != nil {
		return nil, "", err
	}
	e.Clean(func(context.Context) error { return p.Kill() }) // its data is thrown away
	addrs, err := p.Await(ctx, "serves")
	if err != nil {
		return nil, "", err
	}
	addr, ops, _ := strings.Cut(addrs, " ")
	err = e.Until(ctx, role+" is ready", func(ctx context.Context) (bool, error) { return ready(ctx, ops) })
	return p, addr, err
}

// ready reports whether the service that has this operations port reaches the broker and inventory-srv.
func ready(ctx context.Context, ops string) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ops+"/readyz", nil)
	if err != nil {
		return false, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, err
	}
	defer res.Body.Close() //nolint:errcheck // read only
	var found struct {
		Checks map[string]string `json:"checks"`
	}
	if err := json.NewDecoder(res.Body).Decode(&found); err != nil {
		return false, err
	}
	for _, name := range []string{"mysql", "broker", "inventory"} {
		if state, checked := found.Checks[name]; checked && state != "ok" {
			return false, nil
		}
	}
	return true, nil
}

// restClient returns a client of a service. It waits as long as the reader thinks.
func (e *Env) restClient(name, addr string) (*rest.Client, error) {
	return e.openClient(rest.Config{URLs: []string{"http://" + addr}, Timeout: e.patience(30 * time.Second), Name: name})
}

// openClient opens a client of services, which is closed at the end.
func (e *Env) openClient(cfg rest.Config) (*rest.Client, error) {
	cfg.Log, cfg.Credential = slog.New(slog.DiscardHandler), config.DemoServiceCredential
	client, err := rest.New(cfg)
	if err != nil {
		return nil, err
	}
	e.Clean(func(context.Context) error {
		client.Close()
		return nil
	})
	return client, nil
}

// startOrders starts order-srv, which ends with the scene at the latest.
func (s *services) startOrders(ctx context.Context, role string, settings ...string) error {
	settings = slices.Concat([]string{
		"MYSQL_DSN=" + s.ordersDSN, "NAMESRV_ADDRS=" + s.broker.Addr(), "INVENTORY_URLS=http://" + s.cable.addr,
	}, orderTimers(), settings)
	p, addr, err := s.e.startService(ctx, role, settings...)
	if err != nil {
		return err
	}
	client, err := s.e.restClient("order", addr)
	if err != nil {
		return err
	}
	s.order, s.client = p, orderapi.NewClient(client)
	return nil
}

// receive creates a product with units.
func receive(ctx context.Context, inventory *inventoryapi.Client, sku string, units int64) error {
	if _, err := inventory.CreateProduct(ctx, inventoryapi.CreateProductRequest{SKU: sku, Title: sku, PriceCents: 100}); err != nil {
		return err
	}
	_, err := inventory.Inbound(ctx, sku, inventoryapi.InboundRequest{Quantity: units, Reference: sku, Reason: "lesson", Actor: "lesson"})
	return err
}

// counts are the units of a product.
type counts struct{ available, reserved int64 }

func (s *services) counts(ctx context.Context, sku string) (c counts, err error) {
	err = s.stock.QueryRowContext(ctx, "SELECT available, reserved FROM stock WHERE sku = ?", sku).Scan(&c.available, &c.reserved)
	return c, err
}

// found is a user's only order in order-srv's database; number is "" if none exists.
type found struct{ number, status string }

func (s *services) find(ctx context.Context, user string) (o found, err error) {
	err = s.orders.QueryRowContext(ctx, "SELECT order_no, status FROM orders WHERE user_id = ?", user).Scan(&o.number, &o.status)
	if errors.Is(err, stdsql.ErrNoRows) {
		return o, nil
	}
	return o, err
}

// deliveries counts the messages that a consumer group of the lesson receives from a topic.
type deliveries struct {
	mu   sync.Mutex
	body []string
}

// of counts the messages that name the order.
func (d *deliveries) of(orderNo string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, body := range d.body {
		if strings.Contains(body, orderNo) {
			n++
		}
	}
	return n
}

// listen receives a topic's messages in a group of the lesson, besides the services.
func (e *Env) listen(ctx context.Context, namesrv, topic string) (*deliveries, error) {
	d := &deliveries{}
	bus, err := mq.Open(mq.Config{Namesrv: []string{namesrv}, Topics: []mq.Topic{{Name: topic}}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	bus.Subscribe(mq.Subscription{Group: "lesson-" + topic, Topic: topic, Handler: func(_ context.Context, m mq.Message) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.body = append(d.body, string(m.Body))
		return nil
	}})
	stop := bus.StartInBackground(context.WithoutCancel(ctx))
	e.Clean(func(context.Context) error { return stop() })
	err = e.Until(ctx, "the lesson listens to "+topic, func(ctx context.Context) (bool, error) { return bus.Probe(ctx) == nil, nil })
	return d, err
}

// reserveCall is how order-srv's call begins that reserves units.
const reserveCall = "POST /v1/reservations HTTP"

// sale is one order of a scene. The user has no other order, so the order is found also when its key is free again.
type sale struct {
	*services
	sku, user string
	began     time.Time
}

// sale starts order-srv and brings halfUnits of a new product.
func (s *services) sale(ctx context.Context, settings ...string) (*sale, error) {
	one := &sale{services: s, sku: fresh("MUG"), user: fresh("user")}
	s.cable.Pass() // what an earlier scene has held
	if err := s.startOrders(ctx, "order-srv", settings...); err != nil {
		return nil, err
	}
	return one, receive(ctx, s.inventory, one.sku, halfUnits)
}

// buys is the buyer's step, with the call that reserves as the one to hold. Nothing is held with none.
func (s *sale) buys(hold direction) *step.Actor { return s.buysAt(hold, reserveCall) }

// buysAt is the buyer's step. order-srv is frozen at the moment at which the cable holds the call, or its answer, so
// that it does nothing while the reader thinks.
func (s *sale) buysAt(hold direction, call string) *step.Actor {
	return &step.Actor{
		Name: "A",
		Steps: []step.Step{{
			Label: step.T("services.buys", halfOrdered), Statement: "POST /v1/orders",
			Do: func(ctx context.Context) (step.Result, error) {
				s.began = time.Now()
				if hold != none {
					s.cable.Hold(hold, call, s.order.Freeze)
				}
				o, _, err := s.client.As(s.user, orderapi.RoleBuyer).Place(ctx, orderapi.PlaceRequest{
					IdempotencyKey: s.user, Items: []orderapi.PlaceItem{{SKU: s.sku, Quantity: halfOrdered}},
				})
				if failed := errors.Join(s.cable.Caught(), ctx.Err()); failed != nil {
					return step.Result{}, fmt.Errorf("order: %w", failed)
				}
				if err != nil {
					return step.Result{Text: step.T("services.no-answer")}, nil //nolint:nilerr // that is the result
				}
				return step.Result{Text: step.T("services.answer", o.Status)}, nil
			},
		}},
		Blocked: func(context.Context) (bool, error) { return s.cable.Held() && !s.order.killed, nil },
	}
}

// dies is a step in which order-srv is killed.
func (s *sale) dies() step.Step {
	return step.Step{Label: step.T("services.dies"), Do: func(context.Context) (step.Result, error) { return step.Result{}, s.order.Kill() }}
}

// restarts is a step in which another order-srv starts.
func (s *sale) restarts(label, role string, settings ...string) step.Step {
	return step.Step{Label: step.T(label), Do: func(ctx context.Context) (step.Result, error) {
		return step.Result{}, s.startOrders(ctx, role, settings...)
	}}
}

// becomes is a step that waits until the order has a status.
func (s *sale) becomes(label, ask, status string) step.Step {
	return step.Step{Label: step.T(label), Ask: ask, Do: func(ctx context.Context) (step.Result, error) {
		err := s.e.Until(ctx, "the order is "+status, func(ctx context.Context) (bool, error) {
			o, err := s.find(ctx, s.user)
			return o.status == status, err
		})
		return step.Result{Text: step.T(label+".got", status, rounded(time.Since(s.began)))}, err
	}}
}

// stocked is a step that waits until a number of units is available.
func (s *sale) stocked(label string, available int64) step.Step {
	return step.Step{Label: step.T(label), Do: func(ctx context.Context) (step.Result, error) {
		err := s.e.Until(ctx, fmt.Sprintf("%d units are available", available), func(ctx context.Context) (bool, error) {
			c, err := s.counts(ctx, s.sku)
			return c.available == available, err
		})
		return step.Result{}, err
	}}
}

// look shows the order and the stock row.
func (s *sale) look() []step.Looker {
	return []step.Looker{
		lookQuery(s.orders, step.T("services.order"), "SELECT status, flow, reason FROM orders WHERE user_id = ?", s.user),
		lookQuery(s.stock, step.T("step.row"), "SELECT available, reserved, sold FROM stock WHERE sku = ?", s.sku),
		func(context.Context) (step.View, error) {
			return step.View{Name: step.T("services.broker"), Rows: []string{fmt.Sprintf("half messages: %d, questions: %d", s.broker.OpenTransactions(), s.broker.Questions())}}, nil
		},
	}
}
