// Package terminal tells output for people from output for files and pipes: only a terminal can overwrite a line or
// show colours.
package terminal

import (
	"io"
	"os"

	"github.com/mattn/go-isatty"
)

// Overwrites reports whether lines on w can be overwritten with control sequences: w is a terminal, and TERM is not
// "dumb".
func Overwrites(w io.Writer, getenv func(string) string) bool {
	f, ok := w.(*os.File)
	return ok && getenv("TERM") != "dumb" && (isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd()))
}

// Colors reports whether text on w may have colours: as [Overwrites], and NO_COLOR is not set (https://no-color.org).
func Colors(w io.Writer, getenv func(string) string) bool {
	return getenv("NO_COLOR") == "" && Overwrites(w, getenv)
}
