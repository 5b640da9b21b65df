package wallet_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/dev/dbtest"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/wallet"
	"holdfast/order-srv/walletapi"
	"holdfast/pkg/config"
	"holdfast/pkg/fault"
	"holdfast/pkg/rest"
)

// serve runs the wallet on a database of its own until the test ends, and returns its URL.
func serve(t *testing.T) (url string) {
	t.Helper()
	env := map[string]string{
		"WALLET_DSN": dbtest.NewDSN(t, nil), "HTTP_ADDR": "127.0.0.1:0", "OPS_ADDR": "127.0.0.1:0", "LAB_MODE": "true", "DRAIN_DELAY": "0s",
	}
	cfg := wallet.Config{Log: slog.New(slog.DiscardHandler)}
	if err := config.Load(func(name string) string { return env[name] }, &cfg.Settings); err != nil {
		t.Fatal(err)
	}
	started := make(chan string, 1)
	cfg.Started = func(addr, _ net.Addr) { started <- "http://" + addr.String() }
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error, 1)
	var running sync.WaitGroup
	running.Go(func() { failed <- wallet.Run(ctx, cfg) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := <-failed; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	select {
	case url = <-started:
		return url
	case err := <-failed:
		failed <- nil
		t.Fatalf("run: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("the wallet does not listen")
	}
	return ""
}

func client(t *testing.T, url string, credential config.Secret) *walletapi.Client {
	t.Helper()
	c, err := rest.New(rest.Config{URLs: []string{url}, Name: "wallet", Log: slog.New(slog.DiscardHandler), Credential: credential})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return walletapi.NewClient(c)
}

// TestRun calls each route of the service through its client.
func TestRun(t *testing.T) {
	t.Parallel()
	c, ctx := client(t, serve(t), config.DemoServiceCredential), t.Context()
	want := walletapi.Wallet{UserID: "ann", AvailableCents: wallet.OpeningCents}
	if got, err := c.Wallet(ctx, "ann"); err != nil || got != want {
		t.Errorf("wallet %+v, error %v", got, err)
	}
	freeze := func(no string) error {
		return c.Freeze(ctx, walletapi.FreezeRequest{OrderNo: no, UserID: "ann", AmountCents: 400_000})
	}
	cancel := walletapi.CancelRequest{UserID: "ann"}
	if err := errors.Join(freeze("A"), freeze("B"), c.Confirm(ctx, "A"), c.Refund(ctx, "A"), c.Cancel(ctx, "B", cancel), c.Cancel(ctx, "V", cancel), freeze("F")); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]struct{ err, want error }{
		"too expensive":    {c.Freeze(ctx, walletapi.FreezeRequest{OrderNo: "X", UserID: "ann", AmountCents: 700_000}), walletapi.ErrInsufficientFunds},
		"after its cancel": {freeze("V"), walletapi.ErrFreezeClosed},
		"cancel of a paid": {c.Cancel(ctx, "A", cancel), walletapi.ErrFreezeConfirmed},
		"unpaid":           {c.Refund(ctx, "B"), walletapi.ErrFreezeUnpaid},
		"unknown":          {c.Confirm(ctx, "U"), walletapi.ErrUnknownFreeze},
		"no user":          {c.Freeze(ctx, walletapi.FreezeRequest{OrderNo: "X"}), order.ErrInvalidUser},
		"negative":         {c.Freeze(ctx, walletapi.FreezeRequest{OrderNo: "X", UserID: "ann", AmountCents: -1}), walletapi.ErrInvalidFreeze},
		"bad number":       {c.Confirm(ctx, "a b"), walletapi.ErrInvalidFreeze},
	} {
		if !errors.Is(got.err, got.want) || fault.Ambiguous(got.err) {
			t.Errorf("%s: error %v, want %v", name, got.err, got.want)
		}
	}
	if _, err := c.Credit(ctx, "ann", walletapi.CreditRequest{AmountCents: 0, Reference: "r"}); !errors.Is(err, walletapi.ErrInvalidCredit) {
		t.Errorf("a credit of nothing: %v", err)
	}
	states, err := c.States(ctx, []string{"A", "B", "F", "V", "none"})
	wantStates := map[string]walletapi.Freeze{
		"A": {OrderNo: "A", UserID: "ann", AmountCents: 400_000, State: walletapi.StateConfirmed, Refunded: true},
		"B": {OrderNo: "B", UserID: "ann", AmountCents: 400_000, State: walletapi.StateCancelled},
		"F": {OrderNo: "F", UserID: "ann", AmountCents: 400_000, State: walletapi.StateFrozen},
		"V": {OrderNo: "V", UserID: "ann", State: walletapi.StateVoid},
	}
	if diff := cmp.Diff(wantStates, states); err != nil || diff != "" {
		t.Errorf("states, error %v (-want +got):\n%s", err, diff)
	}
	pages(t, c)
}

// pages reads the lists, in small pages.
func pages(t *testing.T, c *walletapi.Client) {
	t.Helper()
	ctx := t.Context()
	w, err := c.Credit(ctx, "ben", walletapi.CreditRequest{AmountCents: 5, Reference: "r"})
	if err != nil || w.AvailableCents != wallet.OpeningCents+5 {
		t.Errorf("credit: %+v, error %v", w, err)
	}
	first, err := c.Entries(ctx, "ann", "", 2)
	if err != nil || len(first.Entries) != 2 || first.Entries[0].Kind != walletapi.KindRefund || first.NextCursor == "" {
		t.Fatalf("entries: %+v, error %v", first, err)
	}
	last, err := c.Entries(ctx, "ann", first.NextCursor, 2)
	if err != nil || len(last.Entries) != 1 || last.NextCursor != "" || last.Entries[0].CreatedAt.IsZero() {
		t.Errorf("older entries: %+v, error %v", last, err)
	}
	frozen, err := c.Frozen(ctx, "", 10)
	if err != nil || len(frozen.Freezes) != 1 || frozen.Freezes[0].OrderNo != "F" || frozen.After != "" {
		t.Errorf("frozen: %+v, error %v", frozen, err)
	}
	balances, err := c.Balances(ctx, "", 1)
	want := walletapi.Balance{UserID: "ann", AvailableCents: 600_000, FrozenCents: 400_000, EntriesCents: 1_000_000, FreezesCents: 400_000}
	if err != nil || balances.After != "ann" || len(balances.Balances) != 1 || balances.Balances[0] != want {
		t.Errorf("balances: %+v, error %v", balances, err)
	}
}

// TestRun_credential: without the service credential nothing is served.
func TestRun_credential(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t), "")
	_, err := c.Wallet(t.Context(), "ann")
	if fault.KindOf(err) != fault.Unavailable || fault.Ambiguous(err) || !strings.Contains(err.Error(), "service_credential") {
		t.Errorf("error %v, want a refusal for the credential, not executed", err)
	}
}

// TestMain_commands: what is wrong with the command line or the settings is said before anything is opened.
func TestMain_commands(t *testing.T) {
	t.Parallel()
	none := func(string) string { return "" }
	if err := wallet.Main(t.Context(), []string{"migrte"}, none, io.Discard); err == nil || !strings.Contains(err.Error(), "SERVICE_CREDENTIAL") {
		t.Errorf("without a credential on all addresses: %v", err)
	}
	lab := func(name string) string {
		return map[string]string{"LAB_MODE": "true", "OPS_ADDR": "127.0.0.1:1"}[name]
	}
	if err := wallet.Main(t.Context(), []string{"migrte"}, lab, io.Discard); err == nil || !strings.Contains(err.Error(), "serve, migrate, healthcheck") {
		t.Errorf("unknown command: %v", err)
	}
	if err := wallet.Main(t.Context(), []string{"healthcheck"}, lab, io.Discard); err == nil {
		t.Error("the healthcheck of a wallet that does not run succeeds")
	}
}
