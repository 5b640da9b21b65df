// Package phrase has the sentences of the commands audit, status and doctor in the languages of the lessons.
//
// A command says its own sentences by key. What it prints of a service or of another package, such as a finding of the
// audit, arrives as an English sentence. The book recognises it by the English text of the catalogue and says it in its
// own language; so services and JSON documents stay English, and an older service is understood as well. A sentence
// that the book does not know is printed as it came.
package phrase

import (
	"embed"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"holdfast/internal/lab/step"
)

//go:embed texts/*.json
var textFiles embed.FS

// spoken are the groups of the catalogue whose texts are said by key. The texts of the other groups are recognised.
func spoken() []string { return []string{"audit", "status"} }

// Texts returns the texts of a language of [step.Languages].
func Texts(lang string) (step.Catalogue, error) {
	text, err := textFiles.ReadFile("texts/" + lang + ".json")
	if err != nil {
		return nil, fmt.Errorf("the commands have no texts in language %q", lang)
	}
	return step.ParseCatalogue(text)
}

// Book is the sentences in one language.
type Book struct {
	texts    step.Catalogue
	patterns []pattern // none in English: a sentence stays as it is
}

// New returns the book of a language.
func New(lang string) (*Book, error) {
	texts, err := Texts(lang)
	if err != nil {
		return nil, err
	}
	b := &Book{texts: texts}
	english := step.Languages()[0]
	if lang == english {
		return b, nil
	}
	sources, err := Texts(english)
	if err != nil {
		return nil, err
	}
	for key, source := range sources {
		if group, _, _ := strings.Cut(key, "."); !slices.Contains(spoken(), group) {
			b.patterns = append(b.patterns, newPattern(source, texts[key]))
		}
	}
	// The most specific pattern comes first. Equal ones are ordered too, so that each run says the same.
	slices.SortFunc(b.patterns, func(x, y pattern) int {
		if x.literal != y.literal {
			return y.literal - x.literal
		}
		return strings.Compare(x.form.String(), y.form.String())
	})
	return b, nil
}

// Say returns the text of a key with its arguments. Arguments that are strings are said in the book's language.
func (b *Book) Say(key string, args ...any) string {
	for i, arg := range args {
		if text, ok := arg.(string); ok {
			args[i] = b.Sentence(text)
		}
	}
	return b.texts.Say(step.T(key, args...))
}

// Sentence returns an English sentence in the book's language. What fills its placeholders is said in it too.
func (b *Book) Sentence(text string) string {
	for _, p := range b.patterns {
		if !strings.HasPrefix(text, p.prefix) {
			continue
		}
		m := p.form.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		args := make([]any, len(m)-1)
		for i, part := range m[1:] {
			args[i] = b.Sentence(part)
		}
		return fmt.Sprintf(p.target, args...)
	}
	return text
}

// pattern recognises the sentences of one English text.
type pattern struct {
	form    *regexp.Regexp
	prefix  string // of the sentence, before the first placeholder
	literal int    // bytes outside of placeholders
	target  string // the text of the book's language, with %s for every placeholder
}

// placeholder is a verb of fmt, with its flags and the index of its argument if it has one.
var placeholder = regexp.MustCompile(`%(\[\d+\])?[-+.0-9]*([dsvqf])`)

// What a placeholder of an English text stands for.
const (
	number = `(-?\d+)`
	words  = `(.+?)`
)

// newPattern returns the pattern of an English text whose placeholders are in order.
func newPattern(source, target string) pattern {
	p := pattern{target: placeholder.ReplaceAllString(target, "%${1}s")}
	var form strings.Builder
	rest := 0
	for i, at := range placeholder.FindAllStringSubmatchIndex(source, -1) {
		part := strings.ReplaceAll(source[rest:at[0]], "%%", "%")
		if i == 0 {
			p.prefix = part
		}
		p.literal += len(part)
		form.WriteString(regexp.QuoteMeta(part))
		if source[at[4]:at[5]] == "d" {
			form.WriteString(number)
		} else {
			form.WriteString(words)
		}
		rest = at[1]
	}
	part := strings.ReplaceAll(source[rest:], "%%", "%")
	if rest == 0 {
		p.prefix = part
	}
	p.literal += len(part)
	form.WriteString(regexp.QuoteMeta(part))
	p.form = regexp.MustCompile(`(?s)\A` + form.String() + `\z`)
	return p
}
