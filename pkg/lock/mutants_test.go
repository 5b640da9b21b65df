package lock_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/leasecheck"
	"holdfast/pkg/lock"
)

func mutant(m lock.Mutation) leasecheck.Subject {
	return leasecheck.Subject{NewLocker: func(client redis.UniversalClient, opts ...lock.Option) (leasecheck.Locker, error) {
		return lock.NewMutant(m, client, append(opts, lock.WithMaxHold(time.Hour))...)
	}}
}

func unguarded(g leasecheck.Guards) leasecheck.Subject {
	s := leasecheck.Real()
	s.Guards = g
	return s
}

// TestMutants breaks the lock, or the protocol of the resource, in the ways that occur in practice. The checks of
// leasecheck must fail then. The log says which check finds which mutant. A check that no mutant turns red proves
// nothing.
func TestMutants(t *testing.T) {
	t.Parallel()
	mutants := []struct {
		name    string
		subject leasecheck.Subject
		caught  string // the check that finds it
	}{
		{"release without compare", mutant(lock.ReleaseWithoutCompare), leasecheck.LateRelease},
		{"watchdog that trusts the extend's reply", mutant(lock.TrustReply), leasecheck.HungRedis},
		{"lease counted from the reply", mutant(lock.CountFromReply), leasecheck.LateReply},
		{"unlock before commit", unguarded(leasecheck.Guards{EarlyRelease: true}), leasecheck.CommitUnderLease},
		{"unlock before commit, no fence", unguarded(leasecheck.Guards{EarlyRelease: true, NoFence: true}), leasecheck.Contention},
		{"no fence: plain read and absolute write", unguarded(leasecheck.Guards{NoFence: true}), leasecheck.Interleavings},
		{"a token may be claimed twice", unguarded(leasecheck.Guards{SameToken: true}), leasecheck.TokenTwice},
		{"fence only on write", unguarded(leasecheck.Guards{FenceOnWrite: true}), leasecheck.Interleavings},
	}
	for _, check := range leasecheck.Checks() {
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
