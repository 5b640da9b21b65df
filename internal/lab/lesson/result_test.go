package lesson_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/lesson"
)

// TestRun_result: the result has the claims with their figures and the tables, also of a lesson that fails.
func TestRun_result(t *testing.T) {
	t.Parallel()
	l := lesson.Lesson{Name: "x", Title: "an example", Run: func(_ context.Context, e *lesson.Env) error {
		e.Table([]any{"", "sold", "waited"}, []any{"naive", int64(7), 40 * time.Millisecond})
		e.Check(true, "%d of %d sold in %v", int64(7), 20, time.Second)
		e.Check(false, "no unit is lost")
		return nil
	}}
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
	want := `{"name":"x","title":"an example","holds":false,` +
		`"claims":[{"text":"7 of 20 sold in 1s","holds":true,"figures":[7,20]},{"text":"no unit is lost","holds":false,"figures":[]}],` +
		`"tables":[{"columns":["","sold","waited"],"rows":[["naive",7,"40ms"]]}],"seconds":0.25}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// TestRun_resultError: a lesson that could not be run to its end says why, and does not hold.
func TestRun_resultError(t *testing.T) {
	t.Parallel()
	l := lesson.Lesson{Name: "x", Run: func(_ context.Context, e *lesson.Env) error {
		e.Check(true, "so far")
		return errors.New("the server is gone")
	}}
	got, err := lesson.Run(t.Context(), l, lesson.Config{Out: io.Discard})
	if err == nil || got.Holds || len(got.Claims) != 1 || !strings.Contains(got.Error, "the server is gone") {
		t.Errorf("%+v, error %v", got, err)
	}
}
