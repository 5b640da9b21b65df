package database

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	"gorm.io/gorm"

	"holdfast/pkg/wait"
)

// ErrBranchesPrepared is a migration that did not begin, because branches stayed prepared in its database.
var ErrBranchesPrepared = errors.New("prepared branches lock the tables")

const (
	branchPoll = 250 * time.Millisecond // between two listings of the branches

	// branchAge is how long a branch must be listed to be one that the migration waits for. A coordinator that lives
	// ends its branches sooner, and on a busy shop there are always some of these.
	branchAge = time.Second

	firstBranchLog = 5 * time.Second // between the first two log lines about the same wait; doubles
	lastBranchLog  = time.Minute

	namedBranches = 10 // that a log line and an error name at most
)

// BranchWait says how a migration waits for prepared branches, which another process has to end.
type BranchWait struct {
	Limit  time.Duration // of the wait
	Action string        // what the operator does to end the branches; it is logged
}

// MigrateAfterBranches is [Migrate] for a database whose branches another service ends. ALTER TABLE waits for the end
// of every branch that has used the table, and other statements on the table wait behind it, also those of other
// replicas. An ALTER TABLE that gives up leaves the statements of the migration that came before it, and the migration
// cannot be repeated. So the branches have to end before the first statement: the log says which they are, and after
// w.Limit MigrateAfterBranches returns [ErrBranchesPrepared]. Nothing has changed then.
//
// A branch that is prepared later, while the migration runs, is logged as well. It ends no migration: half of the
// statements of a migration cannot be taken back, and would not run a second time.
func MigrateAfterBranches(ctx context.Context, db *gorm.DB, fsys fs.FS, log *slog.Logger, w BranchWait) error {
	watch := &branchWatch{BranchWait: w, branches: NewBranches(db), log: log, seen: map[string]time.Time{}}
	var running sync.WaitGroup
	defer running.Wait()
	during, stop := context.WithCancel(ctx)
	defer stop()
	return migrate(ctx, db, fsys, log, func(ctx context.Context, p *goose.Provider) error {
		if err := watch.await(ctx, p.HasPending); err != nil {
			return err
		}
		running.Go(func() { watch.report(during) })
		return nil
	})
}

// branchWatch looks at the branches of a database.
type branchWatch struct {
	BranchWait
	branches *Branches
	log      *slog.Logger

	seen  map[string]time.Time // listed branches, and when they were first listed
	next  time.Time            // of the next log line
	pause time.Duration        // after it
}

// look returns the listed branches, and those of them that are not about to end.
func (w *branchWatch) look(ctx context.Context) (listed, old []string, err error) {
	listed, err = w.branches.Recover(ctx)
	if err != nil {
		return nil, nil, err
	}
	now, seen := time.Now(), map[string]time.Time{}
	for _, gtrid := range listed {
		first, before := w.seen[gtrid]
		if !before {
			first = now
		}
		seen[gtrid] = first
		if now.Sub(first) >= branchAge {
			old = append(old, gtrid)
		}
	}
	w.seen = seen
	slices.Sort(old)
	return listed, old, nil
}

// await returns nil when no branch is prepared but those that are about to end, or when no migration is pending.
func (w *branchWatch) await(ctx context.Context, pending func(context.Context) (bool, error)) error {
	begin := time.Now()
	for asked := false; ; asked = true {
		listed, old, err := w.look(ctx)
		switch {
		case errors.Is(err, ErrNoBranches): // the server refuses to list them, so this shop prepares none
			return nil
		case err != nil:
			return err
		case len(listed) == 0, len(old) == 0 && time.Since(begin) > 2*branchAge:
			return nil
		}
		if !asked {
			if has, err := pending(ctx); err != nil || !has {
				return err
			}
		}
		if waited := time.Since(begin); len(old) > 0 && waited >= w.Limit {
			return fmt.Errorf("%w for %v: %s", ErrBranchesPrepared, waited.Round(time.Second), some(old))
		}
		if w.due(old) {
			w.log.WarnContext(ctx, "migration waits for prepared branches", "branches", some(old), "limit", w.Limit, "action", w.Action)
		}
		if err := wait.Sleep(ctx, branchPoll); err != nil {
			return err
		}
	}
}

// report logs branches that stay prepared until ctx is done.
func (w *branchWatch) report(ctx context.Context) {
	for wait.Sleep(ctx, branchPoll) == nil {
		_, old, err := w.look(ctx)
		if err == nil && w.due(old) { // after an error the migration has one, too
			w.log.WarnContext(ctx, "migration may wait for branches that were prepared after its begin", "branches", some(old), "action", w.Action)
		}
	}
}

// due reports whether old branches are to be logged: at once, and then less and less often while there are some.
func (w *branchWatch) due(old []string) bool {
	now := time.Now()
	if len(old) == 0 {
		w.next, w.pause = time.Time{}, 0
		return false
	}
	if now.Before(w.next) {
		return false
	}
	w.pause = min(max(firstBranchLog, 2*w.pause), lastBranchLog)
	w.next = now.Add(w.pause)
	return true
}

// some names branches, but not more than a reader wants to see.
func some(gtrids []string) string {
	if more := len(gtrids) - namedBranches; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(gtrids[:namedBranches], ", "), more)
	}
	return strings.Join(gtrids, ", ")
}
