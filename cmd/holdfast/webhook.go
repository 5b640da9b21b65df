package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"holdfast/internal/lab/receiver"
	"holdfast/internal/lab/shop"
	"holdfast/order-srv/orderapi"
)

// listenTime bounds reading one notification, and registering the webhook.
const listenTime = 10 * time.Second

type webhookListenCmd struct {
	Addr   string        `help:"Address to listen on, host:port. Port 0 chooses a free one." default:"127.0.0.1:9595"`
	Target string        `help:"URL that the shop calls. Default: the address, with this machine's name if it has no host."`
	User   string        `help:"Name of the buyer whose webhook is set." default:"demo"`
	Secret string        `help:"Secret of a webhook that is set already. Nothing is set then."`
	Fail   int           `help:"Answer so many notifications with 500 before the first is accepted; -1: all."`
	Slow   time.Duration `help:"Wait so long before each answer."`
	Count  int           `help:"Exit after so many notifications; 0: never."`
}

// Run listens until it is interrupted, or has received Count notifications.
func (l *webhookListenCmd) Run(ctx context.Context, c *cli, stdout io.Writer) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l.Addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer listener.Close() //nolint:errcheck // the server closes it first
	target, secret, err := l.register(ctx, c.URL, listener.Addr())
	if err != nil {
		return explain(ctx, c.Dir, err)
	}
	fmt.Fprintf(stdout, "listening on %s for notifications to %s\n", listener.Addr(), target)
	ctx, done := context.WithCancel(ctx)
	defer done()
	received := 0
	server := &http.Server{ReadTimeout: listenTime, Handler: &receiver.Receiver{
		Secret: secret, Slow: l.Slow,
		Broken: func(verified int, _ time.Time) bool { return l.Fail < 0 || verified <= l.Fail },
		Deliver: func(d receiver.Delivery) {
			printDelivery(stdout, d)
			if received++; received == l.Count {
				done()
			}
		},
	}}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), listenTime+l.Slow)
		defer cancel()
		stopped <- server.Shutdown(ending) // the last answer is sent
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

// register sets the buyer's webhook unless the secret is given, and returns its URL and its secret.
func (l *webhookListenCmd) register(ctx context.Context, gateway string, addr net.Addr) (target, secret string, err error) {
	if target = l.Target; target == "" {
		if target, err = targetOf(addr); err != nil {
			return "", "", err
		}
	}
	if l.Secret != "" {
		return target, l.Secret, nil
	}
	ctx, cancel := context.WithTimeout(ctx, listenTime)
	defer cancel()
	buyer, err := shop.Login(ctx, gateway, l.User, orderapi.RoleBuyer)
	if err != nil {
		return "", "", err
	}
	var w orderapi.Webhook
	if err := buyer.Do(ctx, http.MethodPut, "/v1/webhook", orderapi.WebhookRequest{URL: target}, &w); err != nil {
		return "", "", fmt.Errorf("set the webhook of %s to %s: %w", l.User, target, err)
	}
	return target, w.Secret, nil
}

// targetOf is the URL of an address. In a container the machine's name is one that the other containers resolve.
func targetOf(addr net.Addr) (string, error) {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			return "", fmt.Errorf("read this machine's name: %w", err)
		}
	}
	return "http://" + net.JoinHostPort(host, port) + "/", nil
}

func printDelivery(w io.Writer, d receiver.Delivery) {
	at := d.At.Local().Format("15:04:05.000")
	switch {
	case d.Err != nil:
		fmt.Fprintf(w, "%s  refused: %v; answered %d\n", at, d.Err, d.Status)
	case d.Status != http.StatusOK:
		fmt.Fprintf(w, "%s  %s attempt %s: verified; failing, as --fail says; answered %d\n", at, d.Event.ID, d.Attempt, d.Status)
	case d.Repeat:
		fmt.Fprintf(w, "%s  %s attempt %s: verified; executed before, nothing to do; answered %d\n", at, d.Event.ID, d.Attempt, d.Status)
	default:
		fmt.Fprintf(w, "%s  %s attempt %s: verified; %s paid; answered %d\n", at, d.Event.ID, d.Attempt, money(d.Event.AmountCents), d.Status)
	}
}
