package crash_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/pkg/crash"
)

var row = regexp.MustCompile(`(?m)^\| ((?:order-srv|inventory-srv|wallet)@.*) \|$`)

// TestPage compares both pages with the list: every point is there, in order, and how to get there; in English, the
// rest as well.
func TestPage(t *testing.T) {
	t.Parallel()
	var list [][]string
	for _, p := range crash.List() {
		list = append(list, []string{string(p.Point), p.Dies, p.Ends, p.Healer, p.Try})
	}
	var text strings.Builder
	for _, cells := range list {
		fmt.Fprintf(&text, "| %s |\n", strings.Join(cells, " | "))
	}
	if diff := cmp.Diff(list, rows(t, "../../docs/crash-points.md")); diff != "" {
		t.Errorf("the page's table differs from the list (-list +page):\n%s\nIt should be:\n%s", diff, text.String())
	}
	chinese := rows(t, "../../docs/crash-points.zh.md")
	if len(chinese) != len(list) {
		t.Fatalf("the Chinese page has %d points, want %d", len(chinese), len(list))
	}
	for i, want := range list {
		if got := chinese[i]; len(got) != len(want) || got[0] != want[0] || got[4] != want[4] {
			t.Errorf("the Chinese page's line %d is %q, want %s with %q", i+1, got, want[0], want[4])
		}
	}
}

func rows(t *testing.T, page string) (rows [][]string) {
	t.Helper()
	for _, m := range row.FindAllStringSubmatch(read(t, page), -1) {
		rows = append(rows, strings.Split(m[1], " | "))
	}
	return rows
}
