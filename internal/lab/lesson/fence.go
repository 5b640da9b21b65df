package lesson

import "context"

func fence() Lesson {
	return Lesson{
		Name:  "fence",
		Title: "the holder who slept past its expiry, and the row that refuses it",
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

	e.Step("No fence: a plain read and an absolute write.")
	none, err := nap("no fence",
		"A lock", "A read", "A sleeps", "B lock", "B read", "B write", "B commit", "A wakes", "A write", "A commit")
	if err != nil {
		return err
	}
	e.Step("A fence on the write, UPDATE ... WHERE fence <= token. A wakes when B has written.")
	after, err := nap("fence on the write, A wakes after B's",
		"A lock", "A read", "A sleeps", "B lock", "B read", "B write-fenced", "B commit", "A wakes", "A write-fenced", "A commit")
	if err != nil {
		return err
	}
	e.Step("The same fence. A wakes when B has read, and has not written yet.")
	before, err := nap("fence on the write, A wakes before B's",
		"A lock", "A read", "A sleeps", "B lock", "B read", "A wakes", "A write-fenced", "A commit", "B write-fenced", "B commit")
	if err != nil {
		return err
	}
	e.Step("Claim first, UPDATE ... SET fence = token WHERE fence < token, then read, then write. A sleeps before its claim.")
	late, err := nap("claim first, A sleeps before it",
		"A lock", "A sleeps", "B lock", "B claim", "B read", "B write", "B commit", "A wakes", "A claim", "A read", "A write", "A commit")
	if err != nil {
		return err
	}
	e.Step("Claim first. A sleeps after its claim, whose row lock keeps B waiting.")
	held, err := nap("claim first, A sleeps after it",
		"A lock", "A claim", "A read", "A sleeps", "B lock", "B asks claim", "A wakes", "A write", "A commit",
		"B gets claim", "B read", "B write", "B commit")
	if err != nil {
		return err
	}

	e.Step("What came out, %d rounds each.", fenceRounds)
	e.Table(table...)
	e.Check(none.lost() == fenceRounds, "no fence: each time A overwrote B's sale")
	e.Check(after.lost() == 0 && after.refused == fenceRounds, "fence on the write: A is refused when B has written")
	e.Check(before.lost() == fenceRounds, "fence on the write: each time B overwrote A's sale, as B had read before A wrote")
	e.Check(late.lost() == 0 && late.refused == fenceRounds, "claim first: the late A is refused before it reads")
	e.Check(held.lost() == 0 && held.refused == 0, "claim first: B reads only after A's COMMIT, and both sales count")
	return nil
}

// rounds plays the script several times on one stock and shows the first.
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
