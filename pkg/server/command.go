package server

import (
	"fmt"
	"slices"
	"strings"
)

// CommandServe is what a program does when no command is given.
const CommandServe = "serve"

// Command returns the command in args, and [CommandServe] for no arguments. For an unknown command or several arguments
// it returns an error that lists the commands.
func Command(args []string, others ...string) (string, error) {
	if len(args) == 0 {
		return CommandServe, nil
	}
	if known := append([]string{CommandServe}, others...); len(args) > 1 || !slices.Contains(known, args[0]) {
		return "", fmt.Errorf("unknown command %q: there are %s", strings.Join(args, " "), strings.Join(known, ", "))
	}
	return args[0], nil
}
