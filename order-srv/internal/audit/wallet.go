package audit

import (
	"context"
	"fmt"
	"time"

	"holdfast/order-srv/check"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/walletapi"
)

// walletTime bounds one call to the wallet. A wallet that is away must not keep the rest from being checked.
const walletTime = 5 * time.Second

// Wallet is what an audit reads of the wallet.
type Wallet interface {
	States(ctx context.Context, orderNos []string) (map[string]walletapi.Freeze, error)
	Frozen(ctx context.Context, after string, limit int) (walletapi.FreezePage, error)
	Balances(ctx context.Context, after string, limit int) (walletapi.BalancePage, error)
}

// wallet checks the coordinator's log and the wallets. Rows of the log up to the cut-off that are done were checked
// when everything was proven, and are left out. A shop that has never used the flow tcc needs no wallet, and none is
// read.
func (r *run) wallet(ctx context.Context, cutoff string) error {
	used, err := r.Store.LogUsed(ctx)
	if err != nil || !used {
		return err
	}
	for _, step := range []func(context.Context) (walletErr, err error){
		r.frozen,
		func(ctx context.Context) (walletErr, err error) { return r.logs(ctx, "", cutoff, true) },
		func(ctx context.Context) (walletErr, err error) { return r.logs(ctx, cutoff, "", false) },
		r.balances,
	} {
		walletErr, err := step(ctx)
		if err != nil {
			return err
		}
		if walletErr != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			r.checker.WalletAway(walletErr)
			return nil
		}
	}
	return nil
}

// frozen reads all money that is frozen, and then the log's rows of its orders.
func (r *run) frozen(ctx context.Context) (walletErr, err error) {
	for after := ""; ; {
		p, err := call(ctx, func(ctx context.Context) (walletapi.FreezePage, error) { return r.Wallet.Frozen(ctx, after, page) })
		if err != nil {
			return fmt.Errorf("read what is frozen: %w", err), nil
		}
		orderNos := make([]string, len(p.Freezes))
		held := make([]check.Freeze, len(p.Freezes))
		for i, f := range p.Freezes {
			orderNos[i], held[i] = f.OrderNo, freeze(f)
		}
		rows, err := r.Store.LogsOf(ctx, orderNos)
		if err != nil {
			return nil, err
		}
		known := make(map[string]check.Log, len(rows))
		for _, l := range rows {
			known[l.OrderNo] = logged(l)
		}
		r.checker.Frozen(held, known)
		if after = p.After; after == "" {
			return nil, nil
		}
	}
}

// logs reads rows of the log after an order number up to another ("": to the end), with open only those that are not
// done, and then the money of their orders.
func (r *run) logs(ctx context.Context, after, to string, open bool) (walletErr, err error) {
	if open && to == "" {
		return nil, nil
	}
	for {
		rows, err := r.Store.AuditLogs(ctx, after, to, open, page)
		if err != nil || len(rows) == 0 {
			return nil, err
		}
		orderNos, found := make([]string, len(rows)), make([]check.Log, len(rows))
		for i, l := range rows {
			orderNos[i], found[i] = l.OrderNo, logged(l)
		}
		states, err := call(ctx, func(ctx context.Context) (map[string]walletapi.Freeze, error) { return r.Wallet.States(ctx, orderNos) })
		if err != nil {
			return fmt.Errorf("read the money of orders: %w", err), nil
		}
		freezes := make(map[string]check.Freeze, len(states))
		for no, f := range states {
			freezes[no] = freeze(f)
		}
		r.checker.Logs(found, freezes)
		if after = orderNos[len(orderNos)-1]; len(rows) < page {
			return nil, nil
		}
	}
}

// balances reads all wallets.
func (r *run) balances(ctx context.Context) (walletErr, err error) {
	for after := ""; ; {
		p, err := call(ctx, func(ctx context.Context) (walletapi.BalancePage, error) { return r.Wallet.Balances(ctx, after, page) })
		if err != nil {
			return fmt.Errorf("read the balances: %w", err), nil
		}
		found := make([]check.Wallet, len(p.Balances))
		for i, b := range p.Balances {
			found[i] = check.Wallet{
				User: b.UserID, Available: b.AvailableCents, Frozen: b.FrozenCents, Entries: b.EntriesCents, Freezes: b.FreezesCents,
				Paid: b.PaidCents, Confirmed: b.ConfirmedCents,
			}
		}
		r.checker.Wallets(found)
		if after = p.After; after == "" {
			return nil, nil
		}
	}
}

// call gives one call to the wallet its time.
func call[T any](ctx context.Context, do func(ctx context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, walletTime)
	defer cancel()
	return do(ctx)
}

func logged(l store.AuditedLog) check.Log {
	return check.Log{OrderNo: l.OrderNo, User: l.UserID, Amount: l.AmountCents, State: string(l.State), Status: string(l.Status)}
}

func freeze(f walletapi.Freeze) check.Freeze {
	return check.Freeze{OrderNo: f.OrderNo, User: f.UserID, Amount: f.AmountCents, State: f.State, Refunded: f.Refunded}
}

// inDoubt returns what the coordinator has to end.
func (r *run) inDoubt(ctx context.Context) ([]check.InDoubt, error) {
	found, err := r.Store.InDoubt(ctx)
	if err != nil {
		return nil, err
	}
	var out []check.InDoubt
	for _, s := range found {
		if s.State != store.LogTried { // its order is PLACED, and nothing is to be done
			out = append(out, check.InDoubt{State: string(s.State), Orders: s.Orders, Oldest: s.Oldest})
		}
	}
	return out, nil
}
