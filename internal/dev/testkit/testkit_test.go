package testkit_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/dev/testkit"
)

// recorder is a test that records its failure.
type recorder struct {
	testing.TB
	failure string
}

func (*recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	panic(r)
}

func TestEventually(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		testkit.EventuallyTrue(t, time.Second, "half a second has passed", func() bool { return time.Since(start) >= time.Second/2 })
		if took := time.Since(start); took > 600*time.Millisecond {
			t.Errorf("the condition was seen after %v, want 500ms", took)
		}
		if testkit.Eventually(t, time.Second, "success", func() error { return nil }); t.Failed() {
			t.Error("a check that succeeds failed")
		}
	})
}

func TestEventually_reportsTheLastError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{TB: t}
		defer func() {
			if recover() != r || !strings.Contains(r.failure, "order placed: not within 1s: 3 left") {
				t.Errorf("got failure %q", r.failure)
			}
		}()
		testkit.Eventually(r, time.Second, "order placed", func() error { return errors.New("3 left") })
	})
}
