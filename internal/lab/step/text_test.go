package step_test

import (
	"testing"

	"holdfast/internal/lab/step"
)

func TestLanguage(t *testing.T) {
	t.Parallel()
	for env, want := range map[string]string{
		"": "en", "C": "en", "C.UTF-8": "en", "en_US.UTF-8": "en", "de_DE.UTF-8": "en", "zh": "zh", "zh_CN.UTF-8": "zh", "zha": "en", "zhuang": "en",
	} {
		if got := step.Language(env); got != want {
			t.Errorf("LANG=%q: %s, want %s", env, got, want)
		}
	}
}

// TestChosen: the flag counts before HOLDFAST_LANG, and that before LANG.
func TestChosen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ flag, holdfast, lang, want string }{
		{"", "", "", "en"}, {"", "", "zh_CN.UTF-8", "zh"}, {"", "en", "zh_CN.UTF-8", "en"}, {"", "zh", "C", "zh"}, {"en", "zh", "zh_CN.UTF-8", "en"},
	} {
		env := map[string]string{"HOLDFAST_LANG": c.holdfast, "LANG": c.lang}
		if got := step.Chosen(c.flag, func(name string) string { return env[name] }); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
