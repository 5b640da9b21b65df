package server

import (
	"fmt"
	"slices"
	"strings"
)

// CommandServe is what a program does when no command is given.
const CommandServe = "serve"

// Command returns which of a program's commands args ask for: [CommandServe] when there is none. The error lists the
// commands when there is no such one, or when more is given than one.
func Command(args []string, others ...string) (string, error) {
	if len(args) == 0 {
		return CommandServe, nil
	}
	if known := append([]string{CommandServe}, others...); len(args) > 1 || !slices.Contains(known, args[0]) {
		return "", fmt.Errorf("unknown command %q: there are %s", strings.Join(args, " "), strings.Join(known, ", "))
	}
	return args[0], nil
}
