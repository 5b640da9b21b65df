package docs_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/inventory-srv/inventorylab"
)

// strategies returns the names of all strategies, or of the unsafe ones, sorted.
func strategies(unsafeOnly bool) []string {
	var names []string
	for _, s := range inventorylab.Strategies() {
		if !unsafeOnly || !s.Safe {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	return names
}

// names returns the first group of each match, sorted.
func names(pattern, text string) []string {
	var found []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	slices.Sort(found)
	return found
}

// TestStrategies_listed: the table of docs/strategies.md and the comment of STOCK_STRATEGY in .env.example list every
// strategy, and no other.
func TestStrategies_listed(t *testing.T) {
	t.Parallel()
	want := strategies(false)
	for _, page := range []string{"strategies.md", "strategies.zh.md"} {
		if diff := cmp.Diff(want, names(`(?m)^\| \[([a-z-]+)\]\(#[a-z-]+\) \|`, read(t, page))); diff != "" {
			t.Errorf("the strategies (-) and the table of %s (+) differ:\n%s", page, diff)
		}
	}
	comment := regexp.MustCompile(`(?m)^STOCK_STRATEGY=\S+((\s+#.*\n)+)`).FindString(read(t, "../.env.example"))
	_, comment, _ = strings.Cut(comment, "#")
	if diff := cmp.Diff(want, names(`([a-z-]+)`, comment)); diff != "" {
		t.Errorf("the strategies (-) and STOCK_STRATEGY in .env.example (+) differ:\n%s", diff)
	}
}

// TestReadme_unsafeStrategies: README excepts the unsafe strategies, by name, from its promise.
func TestReadme_unsafeStrategies(t *testing.T) {
	t.Parallel()
	for page, heading := range map[string]string{"../README.md": "## What it promises\n", "../README.zh.md": "## 它保证什么\n"} {
		_, promise, ok := strings.Cut(read(t, page), heading)
		if !ok {
			t.Fatalf("%s has no %q", page, heading)
		}
		first, _, _ := strings.Cut(strings.TrimSpace(promise), "\n* ")
		found := slices.Compact(names("`([a-z-]+)`", first))
		if diff := cmp.Diff(strategies(true), found); diff != "" {
			t.Errorf("the unsafe strategies (-) and those that %s excepts (+) differ:\n%s", page, diff)
		}
	}
}
