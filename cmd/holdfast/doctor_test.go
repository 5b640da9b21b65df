package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"holdfast/internal/dev/doctor"
)

// TestDiagnose: the error of up ends with what the doctor finds, except after Ctrl-C.
func TestDiagnose(t *testing.T) {
	t.Parallel()
	o := doctor.Options{Dir: t.TempDir(), Way: doctor.Native}
	if err := os.WriteFile(filepath.Join(o.Dir, "state.json"), []byte("{garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := diagnose(t.Context(), o, errBroken)
	says(t, got.Error(), []string{"order does not answer\n\nholdfast doctor finds:\n", "problem  leftovers"}, "ok       ")
	if !errors.Is(got, errBroken) {
		t.Error("the cause is not in the error chain")
	}
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	if got := diagnose(interrupted, o, errBroken); got.Error() != errBroken.Error() {
		t.Errorf("after an interruption: %v", got)
	}
}
