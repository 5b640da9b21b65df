package stack

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// The names of the parts, as `holdfast status` shows them.
const (
	nameMySQL     = "mysql"
	nameRedis     = "redis"
	nameRocketMQ  = "rocketmq"
	nameDevBroker = "devbroker" // a subcommand of holdfast, too
	nameInventory = "inventory-srv"
	nameOrder     = "order-srv"
	nameGateway   = "api-gateway"
)

// serviceReady bounds the start of one service, migrations and the broker's topics included.
const serviceReady = 60 * time.Second

// service describes how one of ours is started.
type service struct {
	name string
	port int // of its API; operations are 1000 above
	env  map[string]string
}

// serviceList is in the order in which learners meet them; they start side by side.
func serviceList() []service {
	namesrv := loopback(PortNamesrv)
	return []service{
		{nameInventory, PortInventory, map[string]string{
			"MYSQL_DSN": mysqlDSN("inventory"), "REDIS_ADDRS": loopback(PortRedis), "NAMESRV_ADDRS": namesrv,
			"INSTANCE_ID": "inventory-1",
		}},
		{nameOrder, PortOrder, map[string]string{
			"MYSQL_DSN": mysqlDSN("orders"), "NAMESRV_ADDRS": namesrv, "INSTANCE_ID": "order-1",
			"INVENTORY_URLS": "http://" + loopback(PortInventory),
		}},
		{nameGateway, PortGateway, map[string]string{
			"ORDER_URLS": "http://" + loopback(PortOrder), "INVENTORY_URLS": "http://" + loopback(PortInventory),
			"DEMO_LOGIN": "true",
		}},
	}
}

func (u *upper) services() []part {
	var parts []part
	for _, s := range serviceList() {
		parts = append(parts, part{s.name, []int{s.port, s.port + 1000}, func(ctx context.Context) (Component, error) { return u.startService(ctx, s) }})
	}
	return parts
}

func (u *upper) startService(ctx context.Context, s service) (Component, error) {
	program := u.program(s.name)
	log := filepath.Join(u.Dir, s.name+".log")
	ops := loopback(s.port + 1000)
	p, err := Start(Command{Name: s.name, Args: []string{program}, Env: u.environment(s, ops), Log: log})
	if err != nil {
		return Component{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, serviceReady)
	defer cancel()
	if err := p.Ready(ctx, func(ctx context.Context) error { return httpReady(ctx, ops) }); err != nil {
		stop, done := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
		defer done()
		if stopErr := p.Stop(stop); stopErr != nil {
			return Component{}, fmt.Errorf("%w (and it does not stop: %w)", err, stopErr)
		}
		return Component{}, err
	}
	what := "http://" + loopback(s.port)
	return Component{Name: s.name, What: what, PID: p.PID, Marker: program, Ops: ops, Log: log}, nil
}

// environment is the service's own settings under what the caller of Up asks for.
func (u *upper) environment(s service, ops string) []string {
	env := map[string]string{"HTTP_ADDR": loopback(s.port), "OPS_ADDR": ops, "LAB_MODE": "true"}
	maps.Copy(env, s.env)
	maps.Copy(env, u.Env)
	maps.Copy(env, u.crashEnv(s.name))
	list := make([]string, 0, len(env))
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	return list
}

// seed fills the catalogue. It may run at every start: what is there stays as it is.
func (u *upper) seed(ctx context.Context) error {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, serviceReady)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(u.Bin, nameInventory), "seed")
	for _, s := range serviceList() {
		if s.name == nameInventory {
			cmd.Env = append(os.Environ(), u.environment(s, "")...)
		}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("seed the catalogue: %w\n%s", err, out)
	}
	u.report("catalogue", "seeded", begin)
	return nil
}

func httpReady(ctx context.Context, ops string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ops+"/readyz", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // read only
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", res.Status)
	}
	return nil
}

func loopback(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
