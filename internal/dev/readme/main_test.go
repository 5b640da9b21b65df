package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const fences = "```"

// page has a command of each way, and two lines of output.
const page = fences + `sh
docker compose up        # containers
echo "naive    60    40" # prints a row
` + fences + `

` + fences + `sh
test a = b               # exits non-zero
echo 'time=12 msg="conditional 20 0; done in 1.5s" source=console'
` + fences + `

` + fences + `
naive         7     3
…
conditional   9     0; done in 12s
` + fences + `
`

func TestRun(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		old, changed string // in the page
		want         string // in the error
	}{
		"as the page says":             {"", "", ""},
		"a command fails":              {"echo \"naive", "false; false \"naive", "exit status 1"},
		"a command should fail":        {"test a = b", "test a = a", "exits non-zero"},
		"a row is not printed":         {"naive    60", "mutex    60", `"naive         7     3"`},
		"zero is not any number":       {"conditional 20 0", "conditional 20 4", "conditional   9     0"},
		"any number is not zero":       {"naive    60    40", "naive    60    0", `"naive         7     3"`},
		"the order of the output":      {"naive         7     3\n…\nconditional   9     0; done in 12s", "conditional   9     0; done in 12s\nnaive         7     3", "naive"},
		"a page without such commands": {"sh\n", "text\n", "no commands"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "page.md")
			text := strings.ReplaceAll(page, test.old, test.changed)
			if test.old == "" {
				text = page
			}
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			err := run(t.Context(), []string{"native", file}, io.Discard)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("run = %v, want %q", err, test.want)
			}
		})
	}
}

func TestCommandsOf_docker(t *testing.T) {
	t.Parallel()
	got := commandsOf(page, true)
	if len(got) != 1 || got[0] != (command{line: "docker compose up"}) {
		t.Errorf("commands = %+v", got)
	}
}
