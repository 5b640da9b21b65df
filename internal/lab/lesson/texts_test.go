package lesson_test

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/lesson"
	"holdfast/internal/lab/step"
)

// placeholder matches a verb of fmt, with the number of its argument if it has one.
var placeholder = regexp.MustCompile(`%(?:\[(\d+)\])?([a-z])`)

// placeholders returns the verbs of a text by the number of their arguments.
func placeholders(text string) map[int]string {
	verbs := map[int]string{}
	next := 1
	for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
		if n, err := strconv.Atoi(m[1]); err == nil {
			next = n
		}
		verbs[next] = m[2]
		next++
	}
	return verbs
}

// TestTexts: all languages have the same keys, and each text has the same placeholders in all of them.
func TestTexts(t *testing.T) {
	t.Parallel()
	english, err := lesson.Texts("en")
	if err != nil {
		t.Fatal(err)
	}
	for _, lang := range step.Languages()[1:] {
		other, err := lesson.Texts(lang)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(english)), slices.Sorted(maps.Keys(other))); diff != "" {
			t.Errorf("keys of en (-) and %s (+):\n%s", lang, diff)
		}
		for key, text := range english {
			if diff := cmp.Diff(placeholders(text), placeholders(other[key])); diff != "" {
				t.Errorf("%s: placeholders of en (-) and %s (+):\n%s", key, lang, diff)
			}
			if strings.TrimSpace(other[key]) == "" {
				t.Errorf("%s: the text in %s is empty", key, lang)
			}
		}
	}
}

func TestTexts_Unknown(t *testing.T) {
	t.Parallel()
	if _, err := lesson.Texts("fr"); err == nil {
		t.Error("a language without texts was accepted")
	}
}
