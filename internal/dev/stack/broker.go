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
	BrokerAuto     = "auto"      // RocketMQ where it can run, else the development broker
	BrokerRocketMQ = "rocketmq"  // or an error that says what is missing
	BrokerDev      = "devbroker" // the development broker, pkg/mq/devbroker
)

// devBrokerName is what people are told.
const devBrokerName = "development broker"

// DevBrokerOptions are the development broker's settings: those of deploy/rocketmq/broker.conf.
func DevBrokerOptions(addr string, log *slog.Logger) devbroker.Options {
	return devbroker.Options{
		Addr: addr, TransactionTimeout: 12 * time.Second, CheckInterval: 5 * time.Second, CheckMax: 1000, Log: log,
	}
}

// quickDevBroker is what [QuickTransactions] are for RocketMQ.
func quickDevBroker() devbroker.Options {
	o := DevBrokerOptions("", nil)
	o.TransactionTimeout, o.CheckInterval = 3*time.Second, 2*time.Second
	return o
}

// chooseBroker settles auto; "" is auto too. why is for people: what is missing for RocketMQ.
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
	return "", "", fmt.Errorf("broker %q is unknown; possible are %s", wish, strings.Join([]string{BrokerAuto, BrokerRocketMQ, BrokerDev}, ", "))
}

// broker is the part that carries the messages. A running one is kept: with auto whichever it is, otherwise it must be
// the one that is wished for.
func (u *upper) broker(ctx context.Context) (part, error) {
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
			return part{}, fmt.Errorf("%s runs, and %s was asked for: holdfast down stops it", c.What, u.Broker)
		}
		return p, nil
	}
	kind, why, err := chooseBroker(u.Broker)
	if err != nil {
		return part{}, err
	}
	if why != "" {
		fmt.Fprintf(linePrefix{u, nameDevBroker}, "used because RocketMQ cannot run: %s\n", why)
	}
	for other, p := range parts { // what is gone and was replaced is no missing part of the stack
		if other != kind {
			u.state.remove(p.name)
		}
	}
	return parts[kind], nil
}

func (u *upper) startRocketMQ(ctx context.Context) (Component, error) {
	q, err := StartRocketMQ(ctx, u.options(nameRocketMQ, u.Ports.Namesrv))
	if err != nil {
		return Component{}, err
	}
	return component(nameRocketMQ, q.Server), nil
}

// startDevBroker runs the development broker as a process of its own, so that it outlives this one.
func (u *upper) startDevBroker(ctx context.Context) (Component, error) {
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

// stopServices ends all replicas of services for this Up to start them again.
func (u *upper) stopServices(ctx context.Context, programs ...string) error {
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

// answers reports whether something listens at addr.
func answers(ctx context.Context, addr string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

// StartBroker starts a broker for tests on free ports, tied to this process: wish is [BrokerAuto] (or ""),
// [BrokerRocketMQ] or [BrokerDev]. It returns the name server's address, what people are told, and how it is stopped.
// Open transactions are asked about after three to five seconds.
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

// RunDevBroker runs the development broker until ctx is done, and says on out where it is and in what it differs from
// RocketMQ.
func RunDevBroker(ctx context.Context, addr string, out io.Writer) error {
	b, err := devbroker.Start(DevBrokerOptions(addr, slog.New(slog.NewTextHandler(os.Stderr, nil))))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s on %s; what it does differently from RocketMQ:\n", devBrokerName, b.Addr())
	PrintDifferences(out)
	<-ctx.Done()
	return b.Close()
}

// PrintDifferences lists in what the development broker differs from RocketMQ.
func PrintDifferences(out io.Writer) {
	for _, d := range devbroker.Differences() {
		fmt.Fprintln(out, "  *", d)
	}
}
