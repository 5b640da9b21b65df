package lock_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestReadingOrder holds the package's comment to its word: the way of Acquire on one Redis is short, and what several
// servers need is not in it.
func TestReadingOrder(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "# How to read it")
	files := regexp.MustCompile(`(?m)^//\t(\S+\.(?:go|lua)) `).FindAllStringSubmatch(section, -1)
	if len(files) < 5 || files[0][1] != "lock.go" {
		t.Fatalf("the reading order has the files %v", files)
	}
	quorum := regexp.MustCompile(`(?i)quorum|majority|vote|redsync|nodes`)
	lines := 0
	for _, file := range files {
		text, err := os.ReadFile(file[1])
		if err != nil {
			t.Fatal(err)
		}
		lines += strings.Count(string(text), "\n")
		if found := quorum.FindString(string(text)); found != "" {
			t.Errorf("%s speaks of %q, which belongs into redlock*.go", file[1], found)
		}
	}
	if lines >= 600 {
		t.Errorf("the way of Acquire on one Redis has %d lines, want fewer than 600", lines)
	}
	t.Logf("%d lines in %d files", lines, len(files))
}
