package main

import (
	"fmt"
	"regexp"
	"strings"
)

// command is one line of a page's sh blocks.
type command struct {
	line  string // without the comment
	fails bool   // the comment says that it exits non-zero
}

var block = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")

// commandsOf returns the commands of the page's sh blocks: those of Docker, or the others.
func commandsOf(page string, docker bool) []command {
	var commands []command
	for _, m := range block.FindAllStringSubmatch(page, -1) {
		if m[1] != "sh" {
			continue
		}
		for line := range strings.Lines(m[2]) {
			line, comment, _ := strings.Cut(line, " #")
			line = strings.TrimSpace(line)
			if line != "" && strings.HasPrefix(line, "docker ") == docker {
				commands = append(commands, command{line, strings.Contains(comment, "exits non-zero")})
			}
		}
	}
	return commands
}

// outputOf returns the lines of the page's blocks without a language. A line of only "…" stands for lines left out.
func outputOf(page string) []string {
	var lines []string
	for _, m := range block.FindAllStringSubmatch(page, -1) {
		if m[1] != "" {
			continue
		}
		for line := range strings.Lines(m[2]) {
			if line = strings.TrimSpace(line); line != "" && line != "…" {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// compareOutput finds each shown line in the output, in order. Numbers may differ, except that zero stays zero: "0
// oversold" is not "9 oversold".
func compareOutput(shown []string, output string) error {
	printed := strings.Split(output, "\n")
	for _, want := range shown {
		i := 0
		for i < len(printed) && !strings.Contains(" "+shape(printed[i])+" ", " "+shape(want)+" ") {
			i++
		}
		if i == len(printed) {
			return fmt.Errorf("the page shows %q, and the commands did not print such a line, or not in this order", want)
		}
		printed = printed[i+1:]
	}
	return nil
}

var (
	name   = regexp.MustCompile(`\b(LOAD-\w+|[0-9A-Z]{26})\b`)
	number = regexp.MustCompile(`\d+(\.\d+)?`)
)

// shape replaces what differs from run to run: generated names, numbers, the width of columns, and the quotes in which
// k6 writes a line that does not go to a terminal.
func shape(line string) string {
	line = name.ReplaceAllString(strings.ReplaceAll(line, `"`, " "), "NAME")
	line = number.ReplaceAllStringFunc(line, func(digits string) string {
		if digits == "0" {
			return digits
		}
		return "N"
	})
	return strings.Join(strings.Fields(line), " ")
}
