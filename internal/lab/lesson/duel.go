package lesson

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// duel runs two seller processes, A and B, on one stock row.
type duel struct {
	e       *Env
	shelf   *shelf
	client  *redis.Client
	lock    string // the key in Redis
	sellers map[string]*Process
}

func (e *Env) duel(ctx context.Context) (*duel, error) {
	client, err := e.Redis(ctx)
	if err != nil {
		return nil, err
	}
	s, err := e.shelf(ctx)
	if err != nil {
		return nil, err
	}
	prefix := e.Key("locks:")
	d := &duel{e: e, shelf: s, client: client, lock: lockName(prefix, sku), sellers: map[string]*Process{}}
	for _, name := range []string{"A", "B"} {
		p, err := e.Start("seller", client.Options().Addr, prefix, s.dsn)
		if err != nil {
			return nil, err
		}
		if _, err := p.Await(ctx, "ready"); err != nil {
			return nil, err
		}
		d.sellers[name] = p
	}
	return d, nil
}

// play runs a script. A line names a seller and an order of [seller], or one of:
//
//	sleeps       freezes the seller until its lock has expired
//	wakes        resumes the seller
//	asks ORDER   sends the order without waiting for the answer
//	gets ORDER   waits for the answer
//
// If a claim or a fenced write changes no row, the seller is refused: it rolls back, and its remaining lines are
// skipped. With show the steps are printed.
func (d *duel) play(ctx context.Context, show bool, script ...string) (sales, error) {
	var r sales
	if show {
		d.show("A", fmt.Sprintf("A (process %d)", d.sellers["A"].PID))
		d.show("B", fmt.Sprintf("B (process %d)", d.sellers["B"].PID))
	}
	refused := map[string]bool{}
	for _, step := range script {
		name, what, _ := strings.Cut(step, " ")
		if refused[name] {
			continue
		}
		n, text, err := d.act(ctx, d.sellers[name], what)
		if err != nil {
			return r, fmt.Errorf("%s %s: %w", name, what, err)
		}
		if show {
			d.show(name, text)
		}
		switch order := strings.TrimPrefix(what, "gets "); {
		case order == "commit":
			r.accepted++
		case n == 0 && (order == "claim" || order == "write-fenced"):
			r.refused++
			refused[name] = true
			if _, _, err := d.act(ctx, d.sellers[name], "rollback"); err != nil {
				return r, fmt.Errorf("%s rollback: %w", name, err)
			}
		}
	}
	return r, nil
}

// act executes one line of a script. It returns the number in the seller's answer, and a text for the output.
func (d *duel) act(ctx context.Context, seller *Process, what string) (n int64, text string, err error) {
	verb, order, _ := strings.Cut(what, " ")
	switch verb {
	case "sleeps":
		return -1, "(frozen; its lock expires)", d.sleepPastExpiry(ctx, seller)
	case "wakes":
		return -1, "(resumes)", seller.Thaw()
	case "asks":
		return -1, order + " ...", seller.Tell(order)
	case "gets":
		verb = order
	default:
		if err := seller.Tell(verb); err != nil {
			return 0, "", err
		}
	}
	answer, err := seller.Await(ctx, verb)
	if err != nil {
		return 0, "", err
	}
	if n, err = strconv.ParseInt(answer, 10, 64); err != nil {
		return 0, "", err
	}
	return n, inWords(verb, n), nil
}

func inWords(order string, n int64) string {
	switch order {
	case "lock":
		return fmt.Sprintf("lock: token %d; BEGIN", n)
	case "claim":
		return "claim the row: " + verdict(n)
	case "read":
		return fmt.Sprintf("read: %d", n)
	case "write":
		return fmt.Sprintf("write %d", n)
	case "write-fenced":
		return "write, fenced: " + verdict(n)
	case "commit":
		if n == 0 {
			return "COMMIT; unlock: the lease was lost"
		}
		return "COMMIT; unlock"
	}
	return order
}

func verdict(rows int64) string {
	if rows == 0 {
		return "0 rows, refused; ROLLBACK"
	}
	return "1 row"
}

// show prints A on the left and B on the right.
func (d *duel) show(name, text string) {
	if name == "B" {
		text = fmt.Sprintf("%-38s%s", "", text)
	}
	d.e.Show("%s", text)
}

// sleepPastExpiry freezes a process until its lock has expired.
func (d *duel) sleepPastExpiry(ctx context.Context, seller *Process) error {
	if err := seller.Freeze(); err != nil {
		return err
	}
	return d.e.Until(ctx, "the frozen holder's key has expired", func(ctx context.Context) (bool, error) {
		n, err := d.client.Exists(ctx, d.lock).Result()
		return n == 0, err
	})
}
