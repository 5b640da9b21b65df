package docs_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestCommands: every `make NAME` and `holdfast NAME` in the pages' code exists.
func TestCommands(t *testing.T) {
	t.Parallel()
	targets := names(`(?m)^([a-z-]+):.* ## `, read(t, "../Makefile"))
	commands := names("(?m)^\\s+([A-Z][A-Za-z]+) +\\w+Cmd +`cmd:", read(t, "../cmd/holdfast/main.go"))
	for i, c := range commands {
		commands[i] = strings.ToLower(regexp.MustCompile("([a-z])([A-Z])").ReplaceAllString(c, "$1-$2"))
	}
	if len(targets) < 10 || len(commands) < 8 {
		t.Fatalf("found only the targets %v and the commands %v", targets, commands)
	}
	code := regexp.MustCompile("(?ms)^```(?:sh)?\n.*?^```$|`[^`\n]+`")
	found := 0
	for _, page := range pages(t) {
		if strings.HasPrefix(page, "adr/") || strings.HasSuffix(page, "CHANGELOG.md") {
			continue // these describe what was
		}
		text := strings.Join(code.FindAllString(read(t, page), -1), "\n")
		for _, name := range names(`(?m)(?:^\s*|[;&(] *|`+"`"+`)(?:time )?make(?: [A-Z]+=\S+)* ([a-z][a-z-]*)`, text) {
			found++
			if !slices.Contains(targets, name) {
				t.Errorf("%s names `make %s`, which does not exist", page, name)
			}
		}
		for _, name := range names(`(?m)(?:^|bin/|--rm |`+"`"+`)holdfast ([a-z][a-z-]*)`, text) {
			found++
			if !slices.Contains(commands, name) {
				t.Errorf("%s names `holdfast %s`, which does not exist", page, name)
			}
		}
	}
	if found < 100 {
		t.Errorf("found only %d commands", found)
	}
}
