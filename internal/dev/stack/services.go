package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// The names of the parts in `holdfast status`.
const (
	nameMySQL     = "mysql"
	nameRedis     = "redis"
	nameRocketMQ  = "rocketmq"
	nameDevBroker = "devbroker" // also a subcommand of holdfast
	nameInventory = "inventory-srv"
	nameOrder     = "order-srv"
	nameWallet    = "wallet"
	nameGateway   = "api-gateway"
)

// serviceReady bounds the start of one service, including migrations and the creation of topics.
const serviceReady = 60 * time.Second

func (u *upRun) services() []part {
	var parts []part
	for _, s := range serviceList(u.Ports, u.Replicas) {
		parts = append(parts, u.part(s))
	}
	return parts
}

func (u *upRun) part(s service) part {
	return part{s.name, []int{s.port, s.port + opsOffset}, func(ctx context.Context) (Component, error) { return u.startService(ctx, s) }}
}

func (u *upRun) startService(ctx context.Context, s service) (Component, error) {
	program := u.program(s.program)
	args := []string{program}
	if s.program == nameWallet {
		args = append(args, nameWallet)
	}
	log := filepath.Join(u.Dir, s.name+".log")
	ops := loopback(s.port + opsOffset)
	p, err := Start(Command{Name: s.name, Args: args, Env: u.environment(s, ops), Log: log, Tie: u.Tie})
	if err != nil {
		return Component{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, serviceReady)
	defer cancel()
	if err := p.Ready(ctx, func(ctx context.Context) error { return httpReady(ctx, ops) }); err != nil {
		stop, done := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
		defer done()
		if stopErr := p.Stop(stop); stopErr != nil {
			return Component{}, fmt.Errorf("%w (stop it: %w)", err, stopErr)
		}
		return Component{}, err
	}
	what := "http://" + loopback(s.port)
	return Component{Name: s.name, What: what, PID: p.PID, Marker: program, Ops: ops, Log: log, Peers: s.peers}, nil
}

// environment returns the service's variables. The caller's UpOptions.Env overrides them.
func (u *upRun) environment(s service, ops string) []string {
	env := map[string]string{"HTTP_ADDR": loopback(s.port), "OPS_ADDR": ops, "LAB_MODE": "true"}
	maps.Copy(env, s.env)
	maps.Copy(env, s.peers)
	maps.Copy(env, u.Env)
	maps.Copy(env, u.crashEnv(s.program))
	list := make([]string, 0, len(env))
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	return list
}

// executable is the file of a service's program.
func executable(program string) string {
	if program == nameWallet {
		return nameOrder
	}
	return program
}

// seed fills the catalogue. It runs at every start and changes nothing that exists.
func (u *upRun) seed(ctx context.Context) error {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, serviceReady)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(u.Bin, nameInventory), "seed")
	for _, s := range serviceList(u.Ports, 1) {
		if s.program == nameInventory {
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
	var ready struct {
		Checks map[string]string `json:"checks"`
	}
	if err := json.NewDecoder(res.Body).Decode(&ready); err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", res.Status)
	}
	// order-srv is ready without them, but the shop is not.
	for _, name := range []string{"broker", "inventory", "wallet"} {
		if state, checked := ready.Checks[name]; checked && state != "ok" {
			return fmt.Errorf("not ready: %s: %s", name, state)
		}
	}
	return nil
}

func loopback(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
