package lesson_test

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/lesson"
	"holdfast/internal/lab/step"
)

// TestRun_result: the result has the claims with their figures and the tables, also of a lesson that fails.
func TestRun_result(t *testing.T) {
	t.Parallel()
	l := scenes(func(e *step.Ending) error {
		e.Table([]any{"", step.T("lesson.sold"), "waited"}, []any{"naive", int64(7), 40 * time.Millisecond})
		e.Check(true, "naive.lost", int64(7), 20)
		e.Check(false, "skipped-units.wait.claim")
		return nil
	})
	got, err := lesson.Run(t.Context(), l, lesson.Config{Out: io.Discard})
	if !errors.Is(err, lesson.ErrDoesNotHold) {
		t.Errorf("error %v", err)
	}
	if got.Seconds <= 0 {
		t.Errorf("it took %v s", got.Seconds)
	}
	got.Seconds = 0.25
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"name":"naive","title":"read, subtract, write: two buyers, one unit","holds":false,` +
		`"claims":[{"text":"7 of its 20 updates are lost","holds":true,"figures":[7,20]},{"text":"B has the unit","holds":false,"figures":[]}],` +
		`"tables":[{"columns":["","sold","waited"],"rows":[["naive",7,"40ms"]]}],"seconds":0.25}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// TestRun_resultError: a lesson that could not be run to its end says why, and does not hold.
func TestRun_resultError(t *testing.T) {
	t.Parallel()
	l := scenes(func(e *step.Ending) error {
		e.Check(true, "skipped-units.wait.claim")
		return errors.New("the server is gone")
	})
	got, err := lesson.Run(t.Context(), l, lesson.Config{Out: io.Discard})
	if err == nil || got.Holds || len(got.Claims) != 1 || !strings.Contains(got.Error, "the server is gone") {
		t.Errorf("%+v, error %v", got, err)
	}
}
