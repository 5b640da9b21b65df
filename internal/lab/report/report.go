// Package report has what the measurements of the laboratory share: presets that are chosen by name, and the files of a
// report.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Preset returns the one of all that has the name, or an error that lists the names.
func Preset[P any](all []P, name string, nameOf func(P) string) (P, error) {
	var names []string
	for _, p := range all {
		if nameOf(p) == name {
			return p, nil
		}
		names = append(names, nameOf(p))
	}
	var none P
	return none, fmt.Errorf("preset %q is not one of %s", name, strings.Join(names, ", "))
}

// Write writes NAME.json, the content, and NAME.html, what page renders, into dir, which it creates.
func Write(dir, name string, content any, page func(io.Writer) error) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(content, "", " ")
	if err != nil {
		return err
	}
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file+".json", append(b, '\n'), 0o644); err != nil { //nolint:gosec // a report for all users
		return err
	}
	var html strings.Builder
	if err := page(&html); err != nil {
		return err
	}
	return os.WriteFile(file+".html", []byte(html.String()), 0o644) //nolint:gosec // as above
}
