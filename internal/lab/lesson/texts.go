package lesson

import (
	"embed"
	"fmt"
	"strings"

	"holdfast/internal/lab/step"
)

//go:embed texts/*.json
var textFiles embed.FS

// Texts returns the texts of all lessons in a language.
func Texts(lang string) (step.Catalogue, error) {
	if lang == "" {
		lang = step.Languages()[0]
	}
	text, err := textFiles.ReadFile("texts/" + lang + ".json")
	if err != nil {
		return nil, fmt.Errorf("language %q is unknown; it is one of %s", lang, strings.Join(step.Languages(), ", "))
	}
	return step.ParseCatalogue(text)
}
