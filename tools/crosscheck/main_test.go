package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheck has a module whose test does not compile for Windows, and only there.
func TestCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":            "module example\n\ngo 1.26\n",
		"a.go":              "package example\n",
		"a_windows_test.go": "package example\n\nvar n int = \"one\"\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := check("darwin/arm64", dir); err != nil {
		t.Errorf("darwin: %v", err)
	}
	if err := check("windows/amd64", dir); err == nil || !strings.Contains(err.Error(), "a_windows_test.go:3:13") {
		t.Errorf("windows: %v, want the place of the mistake", err)
	}
	if err := check("windows/none", dir); err == nil {
		t.Error("a target that there is not was accepted")
	}
}
