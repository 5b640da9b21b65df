package main

import (
	"encoding/json"
	"io"
)

// printJSON prints one indented JSON document.
func printJSON(stdout io.Writer, document any) error {
	enc := json.NewEncoder(stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(document)
}
