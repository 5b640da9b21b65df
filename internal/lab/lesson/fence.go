package lesson

import "context"

func fence() Lesson {
	return Lesson{
		Name:  "fence",
		Title: "a holder resumes after its lock expired, and the row refuses its write",
		Run:   runFence,
		Roles: map[string]Role{"seller": runSeller},
	}
}

const fenceRounds, fenceStock = 4, 100

func runFence(ctx context.Context, e *Env) error {
	d, err := e.duel(ctx)
	if err != nil {
		return err
	}
	e.Show("Two processes sell one unit each from the same row. A is frozen (SIGSTOP) until its lock of %v has expired.", leaseTTL)
	table := [][]any{{"", "sold", "refused", "stock went down by", "lost updates"}}
	nap := func(name string, script ...string) (sales, error) {
		r, err := d.rounds(ctx, script)
		table = append(table, []any{name, r.accepted, r.refused, r.gone, r.lost()})
		return r, err
	}

	e.Step("No fence: a read without a lock and a write of an absolute value.")
	none, err := nap("no fence",
		"A lock", "A read", "A sleeps", "B lock", "B read", "B write", "B commit", "A wakes", "A write", "A commit")
	if err != nil {
		return err
	}
	e.Step("Fence check in the write, UPDATE ... WHERE fence <= token. A wakes after B's write.")
	after, err := nap("check in the write, A wakes after B's write",
		"A lock", "A read", "A sleeps", "B lock", "B read", "B write-fenced", "B commit", "A wakes", "A write-fenced", "A commit")
	if err != nil {
		return err
	}
	e.Step("The same check. A wakes after B's read and before B's write.")
	before, err := nap("check in the write, A wakes before B's write",
		"A lock", "A read", "A sleeps", "B lock", "B read", "A wakes", "A write-fenced", "A commit", "B write-fenced", "B commit")
	if err != nil {
		return err
	}
	e.Step("Claim first, UPDATE ... SET fence = token WHERE fence < token, then read, then write. A is frozen before its claim.")
	late, err := nap("claim first, A frozen before it",
		"A lock", "A sleeps", "B lock", "B claim", "B read", "B write", "B commit", "A wakes", "A claim", "A read", "A write", "A commit")
	if err != nil {
		return err
	}
	e.Step("Claim first. A is frozen after its claim, and B waits for A's row lock.")
	held, err := nap("claim first, A frozen after it",
		"A lock", "A claim", "A read", "A sleeps", "B lock", "B asks claim", "A wakes", "A write", "A commit",
		"B gets claim", "B read", "B write", "B commit")
	if err != nil {
		return err
	}

	e.Step("Result of %d rounds each.", fenceRounds)
	e.Table(table...)
	e.Check(none.lost() == fenceRounds, "no fence: A overwrote B's sale in every round")
	e.Check(after.lost() == 0 && after.refused == fenceRounds, "check in the write: A is refused if B has written")
	e.Check(before.lost() == fenceRounds, "check in the write: B overwrote A's sale in every round, because B had read before A wrote")
	e.Check(late.lost() == 0 && late.refused == fenceRounds, "claim first: A is refused before it reads")
	e.Check(held.lost() == 0 && held.refused == 0, "claim first: B reads only after A's COMMIT, and both sales count")
	return nil
}

// rounds plays the script several times on one stock and prints the first round.
func (d *duel) rounds(ctx context.Context, script []string) (sales, error) {
	var total sales
	if err := d.shelf.fill(ctx, fenceStock); err != nil {
		return total, err
	}
	for round := range fenceRounds {
		r, err := d.play(ctx, round == 0, script...)
		if err != nil {
			return total, err
		}
		total.accepted += r.accepted
		total.refused += r.refused
	}
	left, err := d.shelf.left(ctx)
	total.gone = fenceStock - left
	return total, err
}
