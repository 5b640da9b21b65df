package lock_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/ladder"
	"holdfast/pkg/lock"
)

func mutant(m lock.Mutation) ladder.Subject {
	return ladder.Subject{NewLocker: func(client redis.UniversalClient, opts ...lock.Option) (ladder.Locker, error) {
		return lock.NewMutant(m, client, append(opts, lock.WithMaxHold(time.Hour))...)
	}}
}

func unguarded(g ladder.Guards) ladder.Subject {
	s := ladder.Real()
	s.Guards = g
	return s
}

// TestMutants breaks the lock, or the protocol of the resource, in the ways that are seen in the wild, and has the checks of
// the ladder find it. The log says which mutant is caught by which check. A mutant that survives is a hole in the check;
// a check that no mutant turns red proves nothing.
func TestMutants(t *testing.T) {
	t.Parallel()
	mutants := []struct {
		name    string
		subject ladder.Subject
		caught  string // the check that finds it
	}{
		{"release without compare", mutant(lock.ReleaseWithoutCompare), ladder.LateRelease},
		{"watchdog that trusts the extend's reply", mutant(lock.TrustReply), ladder.HungRedis},
		{"lease counted from the reply", mutant(lock.CountFromReply), ladder.LateReply},
		{"unlock before commit", unguarded(ladder.Guards{EarlyRelease: true}), ladder.CommitUnderLease},
		{"unlock before commit, no fence", unguarded(ladder.Guards{EarlyRelease: true, NoFence: true}), ladder.Contention},
		{"no fence: plain read and absolute write", unguarded(ladder.Guards{NoFence: true}), ladder.Interleavings},
		{"a token may be claimed twice", unguarded(ladder.Guards{SameToken: true}), ladder.TokenTwice},
		{"fence only on write", unguarded(ladder.Guards{FenceOnWrite: true}), ladder.Interleavings},
	}
	for _, check := range ladder.Checks() {
		proven := false
		for _, m := range mutants {
			if m.caught != check.Name {
				continue
			}
			proven = true
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				err := check.Run(t, m.subject)
				if err == nil {
					t.Fatalf("mutant %q survives %q", m.name, check.Name)
				}
				t.Logf("mutant %q is caught by %q:\n%v", m.name, check.Name, err)
			})
		}
		if !proven {
			t.Errorf("no mutant turns %q red", check.Name)
		}
	}
}
