package docs_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestReadme_commandsAreRun: internal/dev/readme runs the commands of README's sh blocks and compares their output with
// the blocks without a language. A block of another kind would be text that nothing checks. The Chinese page has the
// same blocks, see TestTranslations_sameCommands.
func TestReadme_commandsAreRun(t *testing.T) {
	t.Parallel()
	page := read(t, "../README.md")
	for _, m := range regexp.MustCompile("(?m)^```(.+)$").FindAllStringSubmatch(page, -1) {
		if !slices.Contains([]string{"sh", "mermaid"}, m[1]) {
			t.Errorf("README.md has a block of %s, which CI does not run", m[1])
		}
	}
	ci := read(t, "../.ci/run")
	for _, way := range []string{"native", "docker"} {
		if !strings.Contains(ci, "go run ./internal/dev/readme "+way+" README.md\n") {
			t.Errorf(".ci/run does not run the README's %s commands", way)
		}
	}
}

// TestReadme_firstScreen: what Holdfast is, the picture, the commands and what they print fit on one screen.
func TestReadme_firstScreen(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"../README.md", "../README.zh.md"} {
		screen := strings.Join(strings.SplitAfter(read(t, name), "\n")[:46], "")
		for _, want := range []string{"```mermaid\n", "docker compose up", "make up", "lesson naive", "oversold   lost updates", "conditional sold"} {
			if !strings.Contains(screen, want) {
				t.Errorf("the first screen of %s does not show %q", name, want)
			}
		}
	}
}
