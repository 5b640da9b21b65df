package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"holdfast/pkg/mq/devbroker"
)

// The brokers to choose from.
const (
	BrokerAuto     = "auto"      // RocketMQ if it can run, else the development broker
	BrokerRocketMQ = "rocketmq"  // RocketMQ; an error says what is missing
	BrokerDev      = "devbroker" // the development broker, pkg/mq/devbroker
)

// devBrokerName is the development broker's name in output.
const devBrokerName = "development broker"

// DevBrokerOptions are the development broker's settings: those of deploy/rocketmq/broker.conf.
func DevBrokerOptions(addr string, log *slog.Logger) devbroker.Options {
	return devbroker.Options{
		Addr: addr, TransactionTimeout: 12 * time.Second, CheckInterval: 5 * time.Second, CheckMax: 1000, Log: log,
	}
}

// quickDevBroker returns the settings that correspond to [QuickTransactions].
func quickDevBroker() devbroker.Options {
	o := DevBrokerOptions("", nil)
	o.TransactionTimeout, o.CheckInterval = 3*time.Second, 2*time.Second
	return o
}

// chooseBroker resolves [BrokerAuto] and "". why says why RocketMQ was not chosen.
func chooseBroker(wish string) (broker, why string, err error) {
	missing := RocketMQAvailable()
	switch wish {
	case BrokerAuto, "":
		if missing == nil {
			return BrokerRocketMQ, "", nil
		}
		return BrokerDev, missing.Error(), nil
	case BrokerRocketMQ:
		return BrokerRocketMQ, "", missing
	case BrokerDev:
		return BrokerDev, "", nil
	}
	return "", "", fmt.Errorf("broker %q is unknown; choose one of %s", wish, strings.Join([]string{BrokerAuto, BrokerRocketMQ, BrokerDev}, ", "))
}

// broker returns the part that carries the messages. A running broker is kept. It is an error if it is not the
// requested one.
func (u *upRun) broker(ctx context.Context) (part, error) {
	parts := map[string]part{
		BrokerRocketMQ: {nameRocketMQ, nil, u.startRocketMQ},
		BrokerDev:      {nameDevBroker, []int{u.Ports.Namesrv}, u.startDevBroker},
	}
	for kind, p := range parts {
		c, ok := u.state.find(p.name)
		if !ok || !Running(ctx, c.PID, c.Marker) {
			continue
		}
		if u.Broker != BrokerAuto && u.Broker != "" && u.Broker != kind {
			return part{}, fmt.Errorf("%s runs, but %s was requested; stop the stack with holdfast down first", c.What, u.Broker)
		}
		return p, nil
	}
	kind, why, err := chooseBroker(u.Broker)
	if err != nil {
		return part{}, err
	}
	if kind == BrokerRocketMQ { // before any part is started
		if err := u.StoreDisk.check(u.Dir); err != nil {
			return part{}, fmt.Errorf("start RocketMQ: %w", err)
		}
	}
	if why != "" {
		fmt.Fprintf(linePrefix{u, nameDevBroker}, "used because RocketMQ cannot run: %s\n", why)
	}
	for other, p := range parts { // the state must not list a broker that another one replaced
		if other != kind {
			u.state.remove(p.name)
		}
	}
	return parts[kind], nil
}

func (u *upRun) startRocketMQ(ctx context.Context) (Component, error) {
	q, err := StartRocketMQ(ctx, u.options(nameRocketMQ, u.Ports.Namesrv))
	if err != nil {
		return Component{}, err
	}
	return component(nameRocketMQ, q.Server), nil
}

// startDevBroker runs the development broker as a separate process, which outlives this one.
func (u *upRun) startDevBroker(ctx context.Context) (Component, error) {
	addr, log := loopback(u.Ports.Namesrv), filepath.Join(u.Dir, nameDevBroker+".log")
	args := []string{nameDevBroker, "--addr", addr}
	p, err := Start(Command{Name: devBrokerName, Args: append([]string{filepath.Join(u.Bin, "holdfast")}, args...), Log: log, Tie: u.Tie})
	if err != nil {
		return Component{}, err
	}
	ctx, cancel := withStartTimeout(ctx)
	defer cancel()
	if err := p.Ready(ctx, func(ctx context.Context) error { return answers(ctx, addr) }); err != nil {
		return Component{}, errors.Join(err, p.Kill())
	}
	return Component{
		Name: nameDevBroker, What: devBrokerName + " (in memory) on " + addr, PID: p.PID, Marker: strings.Join(args, " "), Log: log,
	}, nil
}

// stopServices ends all replicas of the programs, so that this Up starts them again.
func (u *upRun) stopServices(ctx context.Context, programs ...string) error {
	for _, c := range u.components() {
		if !slices.Contains(programs, programOf(c.Name)) {
			continue
		}
		if err := Terminate(ctx, c.PID, c.Marker); err != nil {
			return fmt.Errorf("stop %s: %w", c.Name, err)
		}
	}
	return nil
}

// answers returns nil if a server listens at addr.
func answers(ctx context.Context, addr string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

// StartBroker starts a broker for tests on free ports, tied to this process. wish is [BrokerAuto] (or ""),
// [BrokerRocketMQ] or [BrokerDev]. It returns the name server's address, the broker's name for output, and a function
// that stops it. The broker checks open transactions after three to five seconds.
func StartBroker(ctx context.Context, wish string, o Options) (addr, name string, stop func(context.Context) error, err error) {
	kind, why, err := chooseBroker(wish)
	if err != nil {
		return "", "", nil, err
	}
	if kind == BrokerRocketMQ {
		q, err := StartRocketMQ(ctx, o, QuickTransactions()...)
		if err != nil {
			return "", "", nil, err
		}
		o.progress("%s", q.what())
		return q.NamesrvAddr, q.Name + " " + q.Version, q.Stop, nil
	}
	if why != "" {
		o.progress("RocketMQ cannot run: %s", why)
	}
	b, err := devbroker.Start(quickDevBroker())
	if err != nil {
		return "", "", nil, err
	}
	o.progress("%s on %s", devBrokerName, b.Addr())
	return b.Addr(), devBrokerName, func(context.Context) error { return b.Close() }, nil
}

// RunDevBroker runs the development broker until ctx is done. It first prints its address and its differences from
// RocketMQ.
func RunDevBroker(ctx context.Context, addr string, out io.Writer) error {
	b, err := devbroker.Start(DevBrokerOptions(addr, slog.New(slog.NewTextHandler(os.Stderr, nil))))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s on %s; its differences from RocketMQ:\n", devBrokerName, b.Addr())
	PrintDifferences(out)
	<-ctx.Done()
	return b.Close()
}

// PrintDifferences lists the development broker's differences from RocketMQ.
func PrintDifferences(out io.Writer) {
	for _, d := range devbroker.Differences() {
		fmt.Fprintln(out, "  *", d)
	}
}
