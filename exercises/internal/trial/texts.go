package trial

import (
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"strings"

	"holdfast/internal/lab/step"
)

//go:embed texts/*.json
var ownTexts embed.FS

// Texts returns the texts of this package and of the findings that every exercise can have, in a language. Their keys
// begin with "trial." and "explore.".
func Texts(lang string) (step.Catalogue, error) { return read(ownTexts, lang) }

// Catalogue returns the texts of an exercise in a language, with those of [Texts].
func Catalogue(texts fs.FS, lang string) (step.Catalogue, error) {
	c, err := Texts(lang)
	if err != nil {
		return nil, err
	}
	own, err := read(texts, lang)
	if err != nil {
		return nil, err
	}
	maps.Copy(c, own)
	return c, nil
}

func read(texts fs.FS, lang string) (step.Catalogue, error) {
	text, err := fs.ReadFile(texts, "texts/"+lang+".json")
	if err != nil {
		return nil, fmt.Errorf("language %q is unknown; it is one of %s: %w", lang, strings.Join(step.Languages(), ", "), err)
	}
	return step.ParseCatalogue(text)
}
