package database

import "strings"

// Clip makes an error's text fit a column of that many characters. Bytes that are no UTF-8 become question marks.
func Clip(text string, characters int) string {
	text = strings.ToValidUTF8(text, "?")
	if runes := []rune(text); len(runes) > characters {
		return string(runes[:characters])
	}
	return text
}
