package lesson

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/oklog/ulid/v2"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
	"holdfast/order-srv/orderapi"
)

func capPartition() Lesson {
	roles := serviceRoles()
	maps.Copy(roles, map[string]Role{"inventory-srv-with-redis": func(ctx context.Context, c *Child) error {
		settings := settingsOf(c.Args)
		return inventorylab.Serve(ctx, inventorylab.ServiceConfig{Settings: settings, LockPrefix: settings["LOCK_PREFIX"], Started: c.serves})
	}})
	return Lesson{Name: "cap-partition", Scenes: capPartitionScenes, Roles: roles}
}

// cutShop is the services with a cable to each server: inventory-srv has one to Redis and one to MySQL, and both
// services reach the broker over the third.
type cutShop struct {
	*services
	redis, mysql, net *cable
	requests          []*cutRequest // in the order of the table
}

// cutRequest is a request that came while a cable was cut.
type cutRequest struct {
	cut    string // what could not be reached
	what   step.Text
	answer string
	took   time.Duration
	agreed time.Duration // from the mend until both databases said what the answer said; 0: they did at once
	agrees bool
}

func capPartitionScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	s, err := e.cutShop(ctx)
	if err != nil {
		return nil, err
	}
	scene := func(name string, open func(context.Context) (*step.Stage, error)) step.Scene {
		return e.scene(step.T("cap-partition."+name), func(ctx context.Context) (*step.Stage, error) {
			for _, c := range []*cable{s.redis, s.mysql, s.net} { // an earlier play may have ended while one was cut
				if err := c.Mend(ctx); err != nil {
					return nil, err
				}
			}
			return open(ctx)
		})
	}
	return []step.Scene{
		scene("redis", s.redisCut),
		scene("mysql", s.mysqlCut),
		scene("broker", s.brokerCut),
		e.scene(step.T("cap-partition.results"), func(context.Context) (*step.Stage, error) {
			return &step.Stage{End: func(_ context.Context, end *step.Ending) error {
				s.table(end)
				return nil
			}}, nil
		}),
	}, nil
}

// cutShop starts everything but order-srv.
func (e *Env) cutShop(ctx context.Context) (*cutShop, error) {
	servers, err := e.serversOfServices(ctx)
	if err != nil {
		return nil, err
	}
	s := &cutShop{services: servers}
	if s.net, err = e.cable(ctx, s.broker.Addr()); err != nil {
		return nil, err
	}
	s.broker.Advertise(s.net.addr)
	redisAddr, err := e.RedisAddr(ctx)
	if err != nil {
		return nil, err
	}
	if s.redis, err = e.cable(ctx, redisAddr); err != nil {
		return nil, err
	}
	dsn, err := mysql.ParseDSN(s.stockDSN)
	if err != nil {
		return nil, err
	}
	if dsn.Net != "tcp" {
		return nil, fmt.Errorf("cut the cable to MySQL: it is reached by %s, not by TCP", dsn.Net)
	}
	if s.mysql, err = e.cable(ctx, dsn.Addr); err != nil {
		return nil, err
	}
	dsn.Addr = s.mysql.addr
	return s, s.startInventory(ctx, "inventory-srv-with-redis", "STOCK_STRATEGY=redis-lock", "LOCK_PREFIX="+e.Key("locks:"),
		"MYSQL_DSN="+dsn.FormatDSN(), "REDIS_ADDRS="+s.redis.addr, "NAMESRV_ADDRS="+s.net.addr)
}

// redisCut is a lock that cannot be reached, while the data that it guards can.
func (s *cutShop) redisCut(ctx context.Context) (*step.Stage, error) {
	one, err := s.cutSale(ctx, "Redis")
	if err != nil {
		return nil, err
	}
	replica, err := s.replica(ctx)
	if err != nil {
		return nil, err
	}
	order, other, read := s.request("Redis", step.T("cap-partition.order", "redis-lock")), s.request("Redis", step.T("cap-partition.order", "conditional")),
		s.request("Redis", step.T("cap-partition.read"))
	var taken int64
	reserves := step.Step{Label: step.T("cap-partition.reserves", halfOrdered), Do: func(ctx context.Context) (step.Result, error) {
		c, err := s.counts(ctx, one.sku)
		if err != nil {
			return step.Result{}, err
		}
		taken = c.reserved // for the order that was refused
		begin := time.Now()
		results, err := replica.Reserve(ctx, []inventoryapi.ReserveOrder{{
			OrderNo: ulid.Make().String(), Lines: []inventoryapi.Line{{SKU: one.sku, Quantity: halfOrdered}},
		}})
		if err != nil {
			return step.Result{}, err
		}
		other.took = time.Since(begin)
		if results[0].Receipt != nil {
			other.answer, other.agrees = inventoryapi.StateReserved, true
		}
		return step.Result{Text: step.T("cap-partition.reserves.got", halfOrdered, rounded(other.took))}, nil
	}}
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "A", Steps: []step.Step{one.places("A", "tx-message", "cap-partition.redis.ask", order), one.again(order)}},
			{Name: "B", Steps: []step.Step{reserves, one.reads(read)}},
			{Steps: []step.Step{one.cuts(s.redis, "redis"), one.mends(s.redis)}},
		},
		Order: []string{"", "A", "B", "B", "", "A"},
		Look:  one.look(),
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(order.notPlaced() && taken == 0 && order.agrees, "cap-partition.redis.claim")
			end.Check(other.agrees && read.answer != "", "cap-partition.redis.other.claim")
			return nil
		},
	}, nil
}

// replica starts an inventory-srv whose strategy needs no Redis, and that no cable reaches. It has a namespace of its
// own on the broker: it is killed at the end of the scene, and would keep ordered queues of the shop locked for a
// minute.
func (s *cutShop) replica(ctx context.Context) (*inventoryapi.Client, error) {
	_, addr, err := s.e.startService(ctx, "inventory-srv",
		"MYSQL_DSN="+s.stockDSN, "NAMESRV_ADDRS="+s.broker.Addr(), "MQ_NAMESPACE=replica", "STOCK_STRATEGY=conditional")
	if err != nil {
		return nil, err
	}
	client, err := s.e.restClient("inventory", addr)
	if err != nil {
		return nil, err
	}
	return inventoryapi.NewClient(client), nil
}

// mysqlCut is stock that cannot be reached. A flow that asks for it refuses; one that writes down what it will ask does
// not.
func (s *cutShop) mysqlCut(ctx context.Context) (*step.Stage, error) {
	one, err := s.cutSale(ctx, "MySQL")
	if err != nil {
		return nil, err
	}
	asked, written := s.request("MySQL", step.T("cap-partition.order", "tx-message")), s.request("MySQL", step.T("cap-partition.order", "outbox"))
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "A", Steps: []step.Step{one.places("A", "tx-message", "", asked), one.again(asked)}},
			{Name: "B", Steps: []step.Step{
				one.places("B", "outbox", "cap-partition.mysql.ask", written), one.becomes("B", orderapi.StatusPlaced, "", written),
			}},
			{Steps: []step.Step{one.cuts(s.mysql, "mysql"), one.mends(s.mysql)}},
		},
		Order: []string{"", "A", "B", "", "A", "B"},
		Look:  one.look(),
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(asked.notPlaced() && asked.agrees, "cap-partition.mysql.asked.claim")
			end.Check(written.answer == orderapi.StatusPending && written.agrees, "cap-partition.mysql.written.claim")
			return nil
		},
	}, nil
}

// brokerCut is a broker that neither service reaches. C has paid an order that was placed before: the payment is taken,
// and inventory-srv receives it when the cable is mended.
func (s *cutShop) brokerCut(ctx context.Context) (*step.Stage, error) {
	one, err := s.cutSale(ctx, "broker")
	if err != nil {
		return nil, err
	}
	asked, written := s.request("broker", step.T("cap-partition.order", "tx-message")), s.request("broker", step.T("cap-partition.order", "outbox"))
	paid, before := s.request("broker", step.T("cap-partition.payment")), &cutRequest{}
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "A", Steps: []step.Step{one.places("A", "tx-message", "", asked), one.again(asked)}},
			{Name: "B", Steps: []step.Step{one.places("B", "outbox", "", written), one.becomes("B", orderapi.StatusPlaced, "", written)}},
			{Name: "C", Steps: []step.Step{
				one.places("C", "tx-message", "", before), one.pays(paid),
				one.becomes("C", orderapi.StatusPaid, "cap-partition.paid.ask", paid),
			}},
			{Steps: []step.Step{one.cuts(s.net, "broker"), one.mends(s.net)}},
		},
		Order: []string{"C", "", "A", "B", "C", "", "A", "B", "C"},
		Look:  one.look(),
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(asked.notPlaced() && asked.agrees, "cap-partition.broker.asked.claim")
			end.Check(written.answer == orderapi.StatusPending && written.agrees, "cap-partition.broker.written.claim")
			end.Check(paid.answer == orderapi.StatusPaid && paid.agrees, "cap-partition.broker.paid.claim")
			return nil
		},
	}, nil
}

// request adds a request to the table.
func (s *cutShop) request(cut string, what step.Text) *cutRequest {
	r := &cutRequest{cut: cut, what: what}
	s.requests = append(s.requests, r)
	return r
}

// refused reports whether the request was refused, and not only left undecided.
func (r *cutRequest) refused() bool {
	switch r.answer {
	case orderapi.StatusPlaced, orderapi.StatusPending, orderapi.StatusPaid:
		return false
	}
	return true
}

// notPlaced reports whether the order was promised nothing. It is refused; where inventory-srv's own refusal comes too
// late, on a busy machine, the answer is PENDING, which promises nothing either.
func (r *cutRequest) notPlaced() bool { return r.answer != orderapi.StatusPlaced }

// table shows what was refused, and what was answered and agreed later.
func (s *cutShop) table(end *step.Ending) {
	rows := [][]any{{
		step.T("cap-partition.cut"), step.T("cap-partition.request"), step.T("cap-partition.answer"), step.T("cap-partition.took"), step.T("cap-partition.agreed"),
	}}
	for _, r := range s.requests {
		agreed := any(step.T("cap-partition.at-once"))
		switch {
		case r.refused() && r.agreed > 0:
			agreed = step.T("cap-partition.taken-again", rounded(r.agreed))
		case r.agreed > 0:
			agreed = step.T("cap-partition.after", rounded(r.agreed))
		}
		rows = append(rows, []any{r.cut, r.what, r.answer, rounded(r.took).String(), agreed})
	}
	end.Table(rows...)
}
