package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"holdfast/internal/lab/bench"
	"holdfast/internal/lab/compare"
	"holdfast/internal/lab/lesson"
	"holdfast/inventory-srv/inventorylab"
	"holdfast/pkg/crash"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Run prints the script that turns completion on. The script asks `holdfast complete` for the candidates, so that it
// need not change with the commands.
func (c *completionCmd) Run(stdout io.Writer) error {
	_, err := fmt.Fprintln(stdout, strings.TrimSpace(map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}[c.Shell]))
	return err
}

// The scripts pass the words after the program's name, up to the cursor. They call the program by the name on the
// command line, such as bin/holdfast, and complete file names where there is no candidate.
const (
	// bash breaks words at "=" and "@" too, so the script takes them from the line. $2 is what bash will replace.
	bashScript = `
# source <(holdfast completion bash)
_holdfast() {
  local line="${COMP_LINE:0:COMP_POINT}" word candidate
  local -a words
  read -ra words <<<"$line"
  if [[ $line == *[[:space:]] ]]; then words+=(""); fi
  word=${words[${#words[@]}-1]}
  COMPREPLY=()
  while IFS= read -r candidate; do
    COMPREPLY+=("${candidate#"${word%"$2"}"}")
  done < <("${words[0]/#\~/$HOME}" complete -- "${words[@]:1}" 2>/dev/null)
}
complete -o default -F _holdfast holdfast
`
	zshScript = `
# source <(holdfast completion zsh), after compinit
_holdfast() {
  local -a candidates
  candidates=("${(@f)$("${words[1]/#\~/$HOME}" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  candidates=(${candidates:#})
  if (( $#candidates )); then compadd -- "${candidates[@]}"; else _files; fi
}
compdef _holdfast holdfast
`
	fishScript = `
# holdfast completion fish | source
function __holdfast
  set -l words (commandline -opc) (commandline -ct)
  $words[1] complete -- $words[2..-1] 2>/dev/null
end
complete -c holdfast -a '(__holdfast)'
`
)

type completeCmd struct {
	Words []string `arg:"" optional:"" passthrough:"" help:"The words after the program's name."`
}

// Run prints the candidates for the last word, one on each line.
func (c *completeCmd) Run(k *kong.Kong, stdout io.Writer) error {
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	for _, candidate := range candidates(k.Model.Node, words) {
		if _, err := fmt.Fprintln(stdout, candidate); err != nil {
			return err
		}
	}
	return nil
}

// candidates returns the completions of the last word: commands and flags of the command that the words before it name,
// or values of the flag or argument.
func candidates(node *kong.Node, words []string) []string {
	if len(words) == 0 {
		words = []string{""}
	}
	before, last := words[:len(words)-1], words[len(words)-1]
	arguments := 0
	var flag *kong.Flag // that takes the last word as its value
	for _, word := range before {
		switch child := childNamed(node, word); {
		case flag != nil:
			flag = nil
		case strings.HasPrefix(word, "--"):
			if f := flagNamed(node, word); f != nil && !f.IsBool() {
				flag = f
			}
		case child != nil:
			node = child
		default:
			arguments++
		}
	}
	if flag != nil {
		return matching(values(node, flag.Name, flag.Enum), last)
	}
	if name, value, ok := strings.Cut(last, "="); ok && strings.HasPrefix(name, "--") {
		return assignments(node, name, value)
	}
	if strings.HasPrefix(last, "-") {
		return matching(flagNames(node), last)
	}
	var all []string
	for _, child := range node.Children {
		if !child.Hidden {
			all = append(all, child.Name)
		}
	}
	if arguments < len(node.Positional) {
		p := node.Positional[arguments]
		all = append(all, values(node, p.Name, p.Enum)...)
	}
	return matching(all, last)
}

// assignments completes the value of a word such as --flag=va.
func assignments(node *kong.Node, name, value string) []string {
	var all []string
	if f := flagNamed(node, name); f != nil {
		for _, v := range matching(values(node, f.Name, f.Enum), value) {
			all = append(all, name+"="+v)
		}
	}
	return all
}

func childNamed(node *kong.Node, name string) *kong.Node {
	i := slices.IndexFunc(node.Children, func(c *kong.Node) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return node.Children[i]
}

// flagNamed returns a flag of the command or of its parents, or nil. name begins with "--".
func flagNamed(node *kong.Node, name string) *kong.Flag {
	for _, group := range node.AllFlags(true) {
		for _, f := range group {
			if "--"+f.Name == name {
				return f
			}
		}
	}
	return nil
}

func flagNames(node *kong.Node) []string {
	var names []string
	for _, group := range node.AllFlags(true) {
		for _, f := range group {
			names = append(names, "--"+f.Name)
		}
	}
	return names
}

// values returns the values of a flag or an argument, if they are known.
func values(node *kong.Node, name, enum string) []string {
	switch name {
	case "strategy", "strategies":
		return strategyNames()
	case "crash":
		return append(crashPoints(), "list")
	case "preset":
		return presetNames(node.Name)
	case "broker":
		return []string{"auto", "rocketmq", "devbroker"}
	case "name":
		if node.Name == "lesson" {
			return lessonNames()
		}
	}
	if enum != "" {
		return strings.Split(enum, ",")
	}
	return nil
}

func lessonNames() []string {
	var names []string
	for _, l := range lesson.All() {
		names = append(names, l.Name)
	}
	return names
}

func presetNames(command string) []string {
	var names []string
	if command == "bench" {
		for _, p := range bench.Presets() {
			names = append(names, p.Name)
		}
		return names
	}
	for _, p := range compare.Presets() {
		names = append(names, p.Name)
	}
	return names
}

func strategyNames() []string {
	var names []string
	for _, s := range inventorylab.Strategies() {
		names = append(names, s.Name)
	}
	return names
}

func crashPoints() []string {
	var names []string
	for _, p := range crash.List() {
		names = append(names, string(p.Point))
	}
	return names
}

func matching(all []string, prefix string) []string {
	return slices.DeleteFunc(all, func(one string) bool { return !strings.HasPrefix(one, prefix) })
}
