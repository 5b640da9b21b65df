package terminal

import "strings"

// firstWide is the first of the characters that take two columns, as Chinese ones do.
const firstWide = 0x2E80

// IsWide reports whether a character takes two columns.
func IsWide(r rune) bool { return r >= firstWide }

// Width returns how many columns of a terminal a text takes.
func Width(text string) int {
	n := 0
	for _, r := range text {
		n++
		if IsWide(r) {
			n++
		}
	}
	return n
}

// Pad returns the text with spaces behind it, or before it if right is true, so that it takes the number of columns. A
// longer text is returned as it is.
func Pad(text string, columns int, right bool) string {
	spaces := strings.Repeat(" ", max(0, columns-Width(text)))
	if right {
		return spaces + text
	}
	return text + spaces
}
