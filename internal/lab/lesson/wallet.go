package lesson

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"holdfast/internal/lab/step"
	"holdfast/order-srv/orderlab"
	"holdfast/order-srv/walletapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/rest"
	"holdfast/pkg/web"
)

// What the lessons about TCC order: each order costs tccPrice, and the buyer's wallet opens with tccOpening.
const (
	tccUser    = "ann"
	tccPrice   = 30_000
	tccOpening = 1_000_000
	tccA       = "A" // order numbers
	tccB       = "B"
)

// impatience is how long the caller waits for the answer to a call that the network holds.
const impatience = 300 * time.Millisecond

// walletRoles are the roles of a lesson that uses the wallet.
func walletRoles() map[string]Role {
	return map[string]Role{"wallet": func(ctx context.Context, c *Child) error {
		settings := settingsOf(c.Args)
		return orderlab.ServeWallet(ctx, orderlab.WalletConfig{Settings: settings, Mistake: settings["MISTAKE"], Started: c.serves})
	}}
}

// walletScene is the wallet in a process of its own, with a database, at the other end of a cable.
type walletScene struct {
	e         *Env
	right     bool // it has all its guards
	db        *stdsql.DB
	cable     *cable
	client    *walletapi.Client
	impatient *walletapi.Client // for calls that the cable holds
	answers   map[string]string // by phase and order, of the last call
}

// tccLesson is a lesson with the same scene twice: without a guard of the wallet, and with it.
type tccLesson struct {
	name, mistake string
	stage         func(w *walletScene) *step.Stage
	check         func(w *walletScene, b balance, end *step.Ending)
}

func (l tccLesson) lesson() Lesson {
	return Lesson{Name: l.name, Scenes: l.scenes, Roles: walletRoles()}
}

func (l tccLesson) scenes(_ context.Context, e *Env) ([]step.Scene, error) {
	found := map[string]balance{}
	scene := func(way, mistake string) step.Scene {
		return e.scene(step.T(l.name+"."+way), func(ctx context.Context) (*step.Stage, error) {
			w, err := e.walletScene(ctx, mistake)
			if err != nil {
				return nil, err
			}
			stage := l.stage(w)
			stage.Look = w.look()
			stage.End = func(ctx context.Context, end *step.Ending) error {
				b, err := w.balance(ctx)
				if err != nil {
					return err
				}
				found[way] = b
				l.check(w, b, end)
				return nil
			}
			return stage, nil
		})
	}
	results := e.scene(step.T(l.name+".results"), func(context.Context) (*step.Stage, error) {
		return &step.Stage{End: func(_ context.Context, end *step.Ending) error {
			table := [][]any{{"", step.T("tcc.available"), step.T("tcc.frozen"), step.T("tcc.freezes-sum"), step.T("tcc.payments")}}
			for _, way := range []string{"mistake", "right"} {
				b := found[way]
				table = append(table, []any{step.T("tcc." + way + ".row"), b.available, b.frozen, b.forOrders, b.payments})
			}
			end.Table(table...)
			return nil
		}}, nil
	})
	return []step.Scene{scene("mistake", l.mistake), scene("right", ""), results}, nil
}

// walletScene starts a wallet without a guard, or with all of them when mistake is "".
func (e *Env) walletScene(ctx context.Context, mistake string) (*walletScene, error) {
	w := &walletScene{e: e, right: mistake == "", answers: map[string]string{}}
	dsn, db, err := e.database(ctx)
	if err != nil {
		return nil, err
	}
	w.db = db
	_, addr, err := e.startService(ctx, "wallet", "WALLET_DSN="+dsn, "MISTAKE="+mistake)
	if err != nil {
		return nil, err
	}
	if w.cable, err = e.cable(ctx, addr); err != nil {
		return nil, err
	}
	patient, err := e.restClient("wallet", w.cable.addr)
	if err != nil {
		return nil, err
	}
	impatient, err := e.openClient(rest.Config{URLs: []string{"http://" + w.cable.addr}, Timeout: impatience, Name: "wallet"})
	if err != nil {
		return nil, err
	}
	w.client, w.impatient = walletapi.NewClient(patient), walletapi.NewClient(impatient)
	_, err = w.client.Wallet(ctx, tccUser) // opens it
	return w, err
}

// call is a step in which order-srv calls the wallet. what is the key of its text, whose values are values.
func (w *walletScene) call(what, orderNo, ask string, do func(ctx context.Context) error, values ...any) step.Step {
	return step.Step{Label: step.T("tcc."+what, values...), Ask: ask, Do: func(ctx context.Context) (step.Result, error) {
		err := do(ctx)
		if ctx.Err() != nil {
			return step.Result{}, ctx.Err()
		}
		if code := fault.From(err); err != nil && strings.HasPrefix(code.Code, "wallet_") && code.Ambiguous {
			return step.Result{Text: step.T("tcc."+what+".lost", values...)}, nil
		}
		answer := answerText(err)
		w.answers[what+" "+orderNo] = answer
		return step.Result{Text: step.T("tcc."+what+".got", append(values, answer)...)}, nil
	}}
}

// answered is what an executed call is answered with.
const answered = "204"

// answerText is an answer as HTTP has it.
func answerText(err error) string {
	if err == nil {
		return answered
	}
	f := fault.From(err)
	return fmt.Sprintf("%d %s", web.Status(f.Kind), f.Code)
}

func refusal(f *fault.Error) string { return answerText(f) }

// freezes is the try phase of an order.
func (w *walletScene) freezes(orderNo string) step.Step {
	return w.call("freezes", orderNo, "", func(ctx context.Context) error { return w.freeze(ctx, w.client, orderNo) }, tccPrice, orderNo)
}

// freezesLate is the same, and the network holds the call.
func (w *walletScene) freezesLate(orderNo string) step.Step {
	return w.call("freezes", orderNo, "", func(ctx context.Context) error {
		w.cable.Hold(calls, "POST /v1/freezes HTTP", func() error { return nil })
		return w.freeze(ctx, w.impatient, orderNo)
	}, tccPrice, orderNo)
}

func (w *walletScene) freeze(ctx context.Context, client *walletapi.Client, orderNo string) error {
	return client.Freeze(ctx, walletapi.FreezeRequest{OrderNo: orderNo, UserID: tccUser, AmountCents: tccPrice})
}

// confirms is the confirm phase.
func (w *walletScene) confirms(orderNo, ask string) step.Step {
	return w.call("confirms", orderNo, ask, func(ctx context.Context) error { return w.client.Confirm(ctx, orderNo) }, orderNo)
}

// confirmsUnheard is the same, and the network loses the answer.
func (w *walletScene) confirmsUnheard(orderNo string) step.Step {
	return w.call("confirms", orderNo, "", func(ctx context.Context) error {
		w.cable.Hold(answers, "POST /v1/freezes/"+orderNo+"/confirmation", func() error { return nil })
		return w.impatient.Confirm(ctx, orderNo)
	}, orderNo)
}

// cancels is the cancel phase.
func (w *walletScene) cancels(orderNo, ask string) step.Step {
	return w.call("cancels", orderNo, ask, func(ctx context.Context) error {
		return w.client.Cancel(ctx, orderNo, walletapi.CancelRequest{UserID: tccUser, AmountCents: tccPrice})
	}, orderNo)
}

// arrives is a step in which the network delivers the freeze that it has held.
func (w *walletScene) arrives(orderNo, ask string) step.Step {
	return step.Step{Label: step.T("tcc.arrives", orderNo), Ask: ask, Do: func(ctx context.Context) (step.Result, error) {
		w.cable.Pass()
		err := w.e.Until(ctx, "the late call is answered", func(context.Context) (bool, error) { return w.cable.Replied("HTTP/1.1"), nil })
		answer := answered
		if w.cable.Replied(walletapi.ErrFreezeClosed.Code) {
			answer = refusal(walletapi.ErrFreezeClosed)
		}
		w.answers["arrives "+orderNo] = answer
		return step.Result{Text: step.T("tcc.arrives.got", orderNo, answer)}, err
	}}
}

// balance is what the wallet has at the end of a scene, in cents; payments is how many entries of payments there are.
type balance struct{ available, frozen, forOrders, payments int64 }

func (w *walletScene) balance(ctx context.Context) (b balance, err error) {
	err = w.db.QueryRowContext(ctx, `SELECT available_cents, frozen_cents,
		(SELECT COALESCE(SUM(amount_cents), 0) FROM freezes WHERE state = 'frozen'), (SELECT COUNT(*) FROM wallet_entries WHERE kind = 'payment')
		FROM wallets WHERE user_id = ?`, tccUser).Scan(&b.available, &b.frozen, &b.forOrders, &b.payments)
	if errors.Is(err, stdsql.ErrNoRows) {
		err = fmt.Errorf("%s has no wallet: %w", tccUser, err)
	}
	return b, err
}

func (w *walletScene) look() []step.Looker {
	return []step.Looker{
		lookQuery(w.db, step.T("tcc.wallet"), "SELECT available_cents, frozen_cents FROM wallets WHERE user_id = ?", tccUser),
		lookQuery(w.db, step.T("tcc.orders"), "SELECT order_no, amount_cents, state FROM freezes ORDER BY order_no"),
		lookQuery(w.db, step.T("tcc.entries"), "SELECT kind, amount_cents FROM wallet_entries ORDER BY id"),
	}
}
