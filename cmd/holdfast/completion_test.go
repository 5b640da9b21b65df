package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestComplete asks for the candidates of a command line.
func TestComplete(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"lesson na":                     "naive",
		"lesson un":                     "unsorted-locks unlock-before-commit",
		"lesson naive un":               "",
		"--dir /tmp lesson na":          "naive",
		"--url=http://x lesson na":      "naive",
		"le":                            "lesson",
		"comp":                          "compare completion",
		"dlq ":                          "list resend",
		"completion ":                   "bash zsh fish",
		"audit --ex":                    "--expect-sales",
		"audit --js":                    "--json",
		"audit --ur":                    "--url",
		"order --strategy group":        "group-commit",
		"order --strategy=group":        "--strategy=group-commit",
		"compare --preset ":             "quick standard long",
		"bench --preset ":               "quick standard",
		"up --crash inventory-srv@comm": "inventory-srv@committed",
		"up --broker d":                 "devbroker",
		"up --replicas 2 --bro":         "--broker",
		"doctor --way n":                "native",
		"no-such-command x":             "",
		"order --sku ":                  "",
	} {
		var out bytes.Buffer
		words := strings.Split(line, " ")
		if err := run(t.Context(), append([]string{"complete", "--"}, words...), &out); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if diff := cmp.Diff(strings.Fields(want), strings.Fields(out.String())); diff != "" {
			t.Errorf("%q: want (-), got (+):\n%s", line, diff)
		}
	}
	var all bytes.Buffer
	if err := run(t.Context(), []string{"complete"}, &all); err != nil {
		t.Fatal(err)
	}
	says(t, all.String(), []string{"doctor\n", "lesson\n", "up\n"}, "lesson-role", "complete\n")
}

// TestCompletion_bash lets bash complete with the script. The words that bash replaces come from its documentation of
// COMP_WORDBREAKS: what follows the last "=" or "@".
func TestCompletion_bash(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash here")
	}
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "holdfast")); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"holdfast lesson na":                     "naive",
		"holdfast lesson ":                       "naive mutex-two-instances for-update",
		bin + "/holdfast lesson na":              "naive",
		"holdfast order --strategy=group":        "group-commit",
		"holdfast order --strategy=":             "naive mutex",
		"holdfast up --crash inventory-srv@comm": "committed",
	} {
		replaced := line[strings.LastIndexAny(line, " =@")+1:]
		cmd := exec.CommandContext(t.Context(), bash, "--norc", "-c", `source <(holdfast completion bash) &&
			COMP_LINE=$1 COMP_POINT=${#1} && _holdfast holdfast "$2" "" && echo "${COMPREPLY[@]}" && complete -p holdfast`, "bash", line, replaced)
		cmd.Env = append(os.Environ(), asMain+"=1", "PATH="+bin+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), want) || !strings.Contains(string(out), "-F _holdfast holdfast") {
			t.Errorf("%q: error %v, output\n%s\nwant %q first", line, err, out, want)
		}
	}
}

// TestCompletion_syntax: the shells that are installed accept their script.
func TestCompletion_syntax(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			var script bytes.Buffer
			if err := run(t.Context(), []string{"completion", shell}, &script); err != nil {
				t.Fatal(err)
			}
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skip("not installed")
			}
			cmd := exec.CommandContext(t.Context(), path, "-n")
			cmd.Stdin = &script
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
