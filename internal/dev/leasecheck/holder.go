package leasecheck

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/pkg/lock"
)

// holderEnv holds a holder's orders. A test binary that finds it in its environment is a holder and runs no test.
const holderEnv = "HOLDFAST_LADDER_HOLDER"

// Orders say what a holder process does. Without StopAt it runs workers until GoOn is called; with it, it makes one
// deduction and waits at that point until then.
type Orders struct {
	Name, Redis, DSN, Prefix string
	TTL, MaxHold             time.Duration
	Keys                     []string

	Workers int
	Linger  time.Duration
	Seed    uint64

	StopAt Point
	Deaf   bool // see Guards

	Journal, Continue string // files; StartHolder chooses them
}

// IsHolder reports whether this process was started as a holder: TestMain then calls RunHolder and nothing else.
func IsHolder() bool { return os.Getenv(holderEnv) != "" }

// RunHolder does what the orders say and returns the exit status.
func RunHolder() int {
	if err := runHolder(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "holder:", err)
		return 1
	}
	return 0
}

func runHolder(ctx context.Context) (err error) {
	var o Orders
	if err := json.Unmarshal([]byte(os.Getenv(holderEnv)), &o); err != nil {
		return err
	}
	f, err := os.OpenFile(o.Journal, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return o.run(ctx, NewJournal(f))
}

func (o Orders) run(ctx context.Context, journal *Journal) (err error) {
	db, err := sql.Open("mysql", o.DSN)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxIdleConns(o.Workers)
	client := lock.NewClient([]string{o.Redis})
	defer func() { err = errors.Join(err, client.Close()) }()
	locker, err := Real().NewLocker(client, lock.WithTTL(o.TTL), lock.WithMaxHold(o.MaxHold), lock.WithPrefix(o.Prefix),
		lock.WithObserver(Observer{journal}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, locker.Close()) }()
	if o.StopAt != "" {
		return o.once(ctx, journal, locker, Stock{db})
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var workers sync.WaitGroup
	for i := range o.Workers {
		w := Worker{
			Name: fmt.Sprintf("%s/%d", o.Name, i), Locker: locker, Stock: Stock{db}, Journal: journal, Keys: o.Keys,
			Linger: o.Linger, Rand: rand.New(rand.NewPCG(o.Seed, uint64(i))),
		}
		workers.Go(func() { w.Run(ctx) })
	}
	o.wait(ctx)
	cancel()
	workers.Wait()
	return nil
}

// once makes one deduction from all keys and stops on its way.
func (o Orders) once(ctx context.Context, journal *Journal, locker Locker, s Stock) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	lease, err := locker.Acquire(ctx, o.Keys...)
	if err != nil {
		return err
	}
	defer func() { _ = lease.Release(ctx) }()
	d := Deduction{ID: o.Name, Keys: o.Keys, Quantity: 1}
	err = Record(journal, lease, d, func() (map[string]int64, error) {
		return Guards{Deaf: o.Deaf}.Deduct(ctx, s, lease, d, func(p Point) {
			if p != o.StopAt {
				return
			}
			journal.Note(string(p))
			o.wait(ctx)
		})
	})
	if err != nil {
		journal.Note(err.Error())
	}
	return nil // what the row said is in the journal
}

// wait waits for GoOn.
func (o Orders) wait(ctx context.Context) {
	for ctx.Err() == nil {
		if _, err := os.Stat(o.Continue); err == nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// Holder is a started holder process.
type Holder struct {
	*stack.Process
	Orders Orders
}

// StartHolder runs this test binary again as a holder. It dies with the test, whatever becomes of either.
func StartHolder(tb testing.TB, o Orders) *Holder {
	tb.Helper()
	program, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	o.Journal, o.Continue = filepath.Join(dir, "journal"), filepath.Join(dir, "continue")
	orders, err := json.Marshal(o)
	if err != nil {
		tb.Fatal(err)
	}
	process, err := stack.Start(stack.Command{
		Name: "holder " + o.Name, Args: []string{program}, Env: []string{holderEnv + "=" + string(orders)},
		Log: filepath.Join(dir, "log"), Tie: true,
	})
	if err != nil {
		tb.Fatal(err)
	}
	h := &Holder{Process: process, Orders: o}
	tb.Cleanup(func() {
		if err := h.Kill(); err != nil {
			tb.Error(err)
		}
	})
	return h
}

// GoOn lets a holder pass the point at which it stopped, or tells its workers that it is enough.
func (h *Holder) GoOn() error { return os.WriteFile(h.Orders.Continue, nil, 0o600) }

// History is what the holder has written so far; after its end, all that it ever will.
func (h *Holder) History() (History, error) {
	f, err := os.Open(h.Orders.Journal)
	if errors.Is(err, fs.ErrNotExist) { // it is still starting, or died before it could
		return History{}, nil
	}
	if err != nil {
		return History{}, err
	}
	defer f.Close() //nolint:errcheck // read only
	return Read(f)
}
