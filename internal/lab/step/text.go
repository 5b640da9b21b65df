package step

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Text is a text of the catalogue with the values for its placeholders. It is data, so that each reader gets it in
// the language of choice.
type Text struct {
	Key  string `json:"key"`
	Args []any  `json:"args,omitempty"` // numbers, strings and Texts
}

// T returns a text. Arguments other than numbers and Texts become strings: a duration, an error.
func T(key string, args ...any) Text {
	t := Text{Key: key}
	for _, arg := range args {
		t.Args = append(t.Args, plain(arg))
	}
	return t
}

// UnmarshalJSON reads a text as it was sent: a number without a fraction is an int64, an object is a Text.
func (t *Text) UnmarshalJSON(data []byte) error {
	var raw struct {
		Key  string            `json:"key"`
		Args []json.RawMessage `json:"args"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	*t = Text{Key: raw.Key}
	for _, data := range raw.Args {
		arg, err := fromJSON(data)
		if err != nil {
			return err
		}
		t.Args = append(t.Args, arg)
	}
	return nil
}

// fromJSON returns an argument or a cell of a table as it was before [plain]'s value was sent.
func fromJSON(data []byte) (any, error) {
	var n int64
	if json.Unmarshal(data, &n) == nil {
		return n, nil
	}
	var text Text
	if len(data) > 0 && data[0] == '{' {
		err := json.Unmarshal(data, &text)
		return text, err
	}
	var v any
	err := json.Unmarshal(data, &v)
	return v, err
}

// plain returns a value that JSON has and that a placeholder can format.
func plain(arg any) any {
	switch v := arg.(type) {
	case int, int64, float64, string, Text:
		return v
	case time.Duration:
		return v.String()
	}
	return fmt.Sprint(arg)
}

// Figures returns the numbers among the arguments.
func (t Text) Figures() []float64 {
	figures := []float64{}
	for _, arg := range t.Args {
		if n, ok := number(arg); ok {
			figures = append(figures, n)
		}
	}
	return figures
}

// number returns false for everything that is no plain number, also for a duration: its text has a unit.
func number(v any) (float64, bool) {
	switch n := v.(type) {
	case int:
		return float64(n), true
	case int64:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}

// Catalogue has the texts of one language, by key.
type Catalogue map[string]string

// ParseCatalogue reads a JSON object of objects: the texts of a lesson, by the lesson's name. The key of a text is
// NAME.KEY.
func ParseCatalogue(text []byte) (Catalogue, error) {
	var groups map[string]map[string]string
	if err := json.Unmarshal(text, &groups); err != nil {
		return nil, fmt.Errorf("parse catalogue: %w", err)
	}
	c := Catalogue{}
	for group, texts := range groups {
		for key, text := range texts {
			c[group+"."+key] = text
		}
	}
	return c, nil
}

// Say returns the text in the catalogue's language. A key that the catalogue lacks is printed with a mark, so that
// tests find it.
func (c Catalogue) Say(t Text) string {
	format, ok := c[t.Key]
	if !ok {
		return "%!missing(" + t.Key + ")"
	}
	if len(t.Args) == 0 {
		return format
	}
	args := make([]any, len(t.Args))
	for i, arg := range t.Args {
		if nested, ok := arg.(Text); ok {
			arg = c.Say(nested)
		}
		args[i] = arg
	}
	return fmt.Sprintf(format, args...)
}

// Languages returns the languages of all texts. The first is the default.
func Languages() []string { return []string{"en", "zh"} }

// Chosen returns the language of the texts: the flag's, else that of the variables HOLDFAST_LANG or LANG.
func Chosen(flag string, getenv func(string) string) string {
	return cmp.Or(flag, Language(cmp.Or(getenv("HOLDFAST_LANG"), getenv("LANG"))))
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
