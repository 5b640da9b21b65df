package lesson

import (
	"embed"
	"fmt"
	"strings"

	"holdfast/internal/lab/step"
)

//go:embed texts/*.json
var textFiles embed.FS

// Languages returns the languages of the texts. The first is the default.
func Languages() []string { return []string{"en", "zh"} }

// Texts returns the texts of all lessons in a language.
func Texts(lang string) (step.Catalogue, error) {
	if lang == "" {
		lang = Languages()[0]
	}
	text, err := textFiles.ReadFile("texts/" + lang + ".json")
	if err != nil {
		return nil, fmt.Errorf("language %q is unknown; it is one of %s", lang, strings.Join(Languages(), ", "))
	}
	return step.ParseCatalogue(text)
}

// Language returns the language for a value of the environment variable LANG, such as zh_CN.UTF-8.
func Language(env string) string {
	for _, lang := range Languages() {
		if env == lang || strings.HasPrefix(env, lang+"_") {
			return lang
		}
	}
	return Languages()[0]
}
