// Package docs_test keeps the pages true: links resolve, the two languages have the same commands, and every
// setting is described with its real default.
package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// pages returns every page of the repository, and none of what a run or a build leaves in it.
func pages(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (path == filepath.Join("..", "bin") || path != ".." && strings.HasPrefix(entry.Name(), ".")):
			return fs.SkipDir
		case filepath.Ext(path) == ".md":
			all = append(all, filepath.ToSlash(strings.TrimPrefix(path, filepath.Join("..", "docs")+string(filepath.Separator))))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 60 {
		t.Fatalf("found only %v", all)
	}
	return all
}

var (
	fence    = regexp.MustCompile("(?ms)^```.*?^```$")
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ (.*)$`)
	noAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the names that GitHub gives to a page's headings.
func anchors(page string) []string {
	var names []string
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		name := strings.ToLower(noAnchor.ReplaceAllString(m[1], ""))
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

func TestLinks(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t) {
		text := read(t, page)
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: the link %s leads nowhere", page, m[1])
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, target)), anchor) {
				t.Errorf("%s: %s has no heading #%s", page, target, anchor)
			}
		}
	}
}

// twins are the pages for users, and their Chinese versions. In the code of the other pages the
// comments are translated too, and what lessons print.
func twins() map[string]string {
	return map[string]string{
		"../README.md": "../README.zh.md", "api.md": "api.zh.md", "choosing-a-flow.md": "choosing-a-flow.zh.md", "running.md": "running.zh.md",
		"glossary.md": "glossary.zh.md", "problems.md": "problems.zh.md",
	}
}

// What is typed and what is answered is the same in both languages, byte by byte. In a picture only the labels differ.
func TestTranslations_sameCommands(t *testing.T) {
	t.Parallel()
	label := regexp.MustCompile(`"[^"]*"|\[[^\]]*\]`)
	blocks := func(page string) (all []string) {
		for _, b := range fence.FindAllString(read(t, page), -1) {
			if strings.HasPrefix(b, "```mermaid\n") {
				b = label.ReplaceAllString(b, "")
			}
			all = append(all, b)
		}
		return all
	}
	for english, chinese := range twins() {
		if diff := cmp.Diff(blocks(english), blocks(chinese)); diff != "" {
			t.Errorf("the code blocks of %s and %s differ:\n%s", english, chinese, diff)
		}
	}
}

func TestTranslations_linkEachOther(t *testing.T) {
	t.Parallel()
	for english, chinese := range twins() {
		for page, other := range map[string]string{english: chinese, chinese: english} {
			top := strings.Join(strings.SplitN(read(t, page), "\n", 5)[:4], "\n")
			if !strings.Contains(top, "]("+filepath.Base(other)+")") {
				t.Errorf("%s does not link %s at its top", page, other)
			}
		}
	}
}

// TestGlossary_sameTerms: both glossaries have the same terms of Holdfast, with the same translations.
func TestGlossary_sameTerms(t *testing.T) {
	t.Parallel()
	row := regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$`)
	terms := func(page string, english, chinese int) map[string]string {
		found := map[string]string{}
		for _, m := range row.FindAllStringSubmatch(read(t, page), -1)[1:] { // after the heading
			found[m[english]] = m[chinese]
		}
		return found
	}
	if diff := cmp.Diff(terms("glossary.md", 1, 2), terms("glossary.zh.md", 2, 1)); diff != "" {
		t.Errorf("the terms of glossary.md (-) and glossary.zh.md (+) differ:\n%s", diff)
	}
}

// TestTranslations_everyPage: each page that users read has a Chinese version with the same headings, diagrams and
// tables.
func TestTranslations_everyPage(t *testing.T) {
	t.Parallel()
	table := regexp.MustCompile(`(?m)^\|[ :|-]+\|$`)
	paired := 0
	for _, page := range pages(t) {
		if strings.HasSuffix(page, ".zh.md") || strings.HasPrefix(page, "adr/") || strings.HasPrefix(page, "../") && page != "../README.md" {
			continue // decisions, and what only contributors read, are English
		}
		chinese := strings.TrimSuffix(page, ".md") + ".zh.md"
		if _, err := os.Stat(chinese); err != nil {
			t.Errorf("%s has no Chinese version", page)
			continue
		}
		paired++
		outline := func(page string) (o []string) {
			text := read(t, page)
			for _, m := range heading.FindAllString(fence.ReplaceAllString(text, ""), -1) {
				o = append(o, m[:strings.Index(m, " ")])
			}
			for _, m := range table.FindAllString(text, -1) {
				o = append(o, "a table of columns "+strings.Repeat("|", strings.Count(m, "|")-1))
			}
			return append(o, strings.Repeat("a diagram ", strings.Count(text, "```mermaid\n")))
		}
		if diff := cmp.Diff(outline(page), outline(chinese)); diff != "" {
			t.Errorf("%s (-) and its Chinese version (+) differ:\n%s", page, diff)
		}
	}
	if paired < 45 {
		t.Errorf("found only %d pages", paired)
	}
}
