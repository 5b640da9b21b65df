// Package judge is what the judges of several exercises share: it makes findings, reads the steps of a run as
// statements, and says when the others could see what each of them wrote.
package judge

import (
	"regexp"
	"strings"

	"holdfast/exercises/internal/explore"
	"holdfast/internal/lab/step"
)

// Statement is a step that read or wrote a table, and that did not fail.
type Statement struct {
	explore.Step
	No    int    // of the step, from 1
	Table string // the first one that it names, in lower case
	Tx    int    // its transaction, from 1; 0: none but its own
	Kept  int    // the step with which others could see what it wrote: its COMMIT, or itself. 0: they never could
}

// table finds what follows the first of these words. The IGNORE of MySQL may stand between.
var table = regexp.MustCompile("(?i)\\b(?:FROM|INTO|UPDATE)\\s+(?:IGNORE\\s+)?`?(\\w+)")

// Statements returns the statements of a run in the order in which they ended.
func Statements(steps []explore.Step) []Statement {
	var all []Statement
	open := map[string]int{} // the open transaction of an actor
	txs := 0
	for i, s := range steps {
		if s.Died {
			delete(open, s.Actor) // the server rolls back
		}
		if s.Died || s.Err != nil {
			continue
		}
		no := i + 1
		switch s.Kind {
		case explore.Begin:
			txs++
			open[s.Actor] = txs
		case explore.Commit:
			for j := range all {
				if all[j].Actor == s.Actor && all[j].Tx != 0 && all[j].Tx == open[s.Actor] {
					all[j].Kept = no
				}
			}
			delete(open, s.Actor)
		case explore.Rollback:
			delete(open, s.Actor)
		case explore.Read, explore.LockingRead, explore.Write:
			st := Statement{Step: s, No: no, Tx: open[s.Actor]}
			if m := table.FindStringSubmatch(s.Does); m != nil {
				st.Table = strings.ToLower(m[1])
			}
			if st.Tx == 0 {
				st.Kept = no
			}
			all = append(all, st)
		default: // not of the database
		}
	}
	return all
}

// Writes reports whether the statement changed rows.
func (s Statement) Writes() bool { return s.Kind == explore.Write && s.Changed > 0 }

// Reads reports whether the statement read.
func (s Statement) Reads() bool { return s.Kind == explore.Read || s.Kind == explore.LockingRead }

// Find returns the number of the first step from a number on that matches, or 0.
func Find(steps []explore.Step, from int, match func(s explore.Step) bool) int {
	for i := max(from, 1); i <= len(steps); i++ {
		if match(steps[i-1]) {
			return i
		}
	}
	return 0
}

// Died returns the number of the step at which an actor was killed, and 0 for one that was not. An empty name is any
// actor.
func Died(steps []explore.Step, actor string) int {
	return Find(steps, 1, func(s explore.Step) bool { return s.Died && (actor == "" || s.Actor == actor) })
}

// Finding returns the finding with that ID. Its texts are in the group "finding" of the exercise's catalogue: ID.what,
// ID.why and ID.do; the first two have values.
func Finding(id string, what, why []any) *explore.Finding {
	return FindingIn("finding", id, what, why, nil)
}

// FindingIn is [Finding] with the texts of another group; all have values.
func FindingIn(group, id string, what, why, do []any) *explore.Finding {
	key := group + "." + id
	return &explore.Finding{
		ID: id, What: step.T(key+".what", what...), Why: step.T(key+".why", why...), Do: step.T(key+".do", do...),
	}
}

// Says returns the error's text, for a sentence.
func Says(err error) string {
	if err == nil {
		return "nil"
	}
	return err.Error()
}
