package phrase_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/phrase"
	"holdfast/internal/lab/step"
	"holdfast/pkg/crash"
)

func texts(t *testing.T, lang string) step.Catalogue {
	t.Helper()
	c, err := phrase.Texts(lang)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func book(t *testing.T, lang string) *phrase.Book {
	t.Helper()
	b, err := phrase.New(lang)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// group returns the English texts of a group.
func group(t *testing.T, name string) []string {
	t.Helper()
	var found []string
	for key, text := range texts(t, "en") {
		if strings.HasPrefix(key, name+".") {
			found = append(found, text)
		}
	}
	return found
}

var verb = regexp.MustCompile(`%(?:\[(\d+)\])?[-+.0-9]*([dsvqf])`)

// arguments returns the arguments that a text uses, by their place.
func arguments(text string) []int {
	var used []int
	for i, m := range verb.FindAllStringSubmatch(text, -1) {
		n := i + 1
		if m[1] != "" {
			n, _ = strconv.Atoi(m[1]) // digits only
		}
		used = append(used, n)
	}
	slices.Sort(used)
	return used
}

// TestTexts: the languages have the same texts, and a text uses the same arguments in each. English ones use them in
// order: the book reads the arguments from them.
func TestTexts(t *testing.T) {
	t.Parallel()
	english := texts(t, "en")
	for _, lang := range step.Languages() {
		c := texts(t, lang)
		if diff := cmp.Diff(slices.Sorted(maps.Keys(english)), slices.Sorted(maps.Keys(c))); diff != "" {
			t.Errorf("keys of en (-) and %s (+):\n%s", lang, diff)
		}
		for key, text := range c {
			if text == "" {
				t.Errorf("%s: %s is empty", lang, key)
			}
			if diff := cmp.Diff(arguments(english[key]), arguments(text)); diff != "" {
				t.Errorf("%s: arguments of en (-) and %s (+):\n%s", key, lang, diff)
			}
		}
	}
	for key, text := range english {
		if strings.Contains(text, "%[") {
			t.Errorf("en: %s has numbered arguments", key)
		}
	}
	if _, err := phrase.New("fr"); err == nil {
		t.Error("a language without texts was accepted")
	}
}

// literals returns the string constants of a package's files that wanted accepts.
func literals(t *testing.T, dir string, wanted func(node ast.Node) []ast.Expr) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(node ast.Node) bool {
			for _, e := range wanted(node) {
				if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					text, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Fatal(err)
					}
					found = append(found, text)
				}
			}
			return true
		})
	}
	if len(found) == 0 {
		t.Fatalf("%s has none", dir)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// TestFindings: the book has each sentence of the checker, and no other.
func TestFindings(t *testing.T) {
	t.Parallel()
	formats := literals(t, "../../../order-srv/check", func(node ast.Node) []ast.Expr {
		call, ok := node.(*ast.CallExpr)
		if !ok || len(call.Args) < 3 {
			return nil
		}
		name := ""
		switch f := call.Fun.(type) {
		case *ast.SelectorExpr:
			name = f.Sel.Name
		case *ast.Ident:
			name = f.Name
		}
		if name != "violation" && name != "unsettled" && name != "finding" {
			return nil
		}
		return call.Args[2:3]
	})
	known := group(t, "finding")
	slices.Sort(known)
	if diff := cmp.Diff(formats, slices.Compact(known)); diff != "" {
		t.Errorf("sentences of order-srv/check (-) and of the texts (+):\n%s", diff)
	}
}

// TestHealings: the book says what each backstop does.
func TestHealings(t *testing.T) {
	t.Parallel()
	chinese := book(t, "zh")
	constants := func(prefix string) []string {
		return literals(t, "../../../order-srv/internal/store", func(node ast.Node) []ast.Expr {
			spec, ok := node.(*ast.ValueSpec)
			if !ok || !strings.HasPrefix(spec.Names[0].Name, prefix) {
				return nil
			}
			return spec.Values
		})
	}
	for _, action := range constants("action") {
		if got := chinese.Sentence("the reconciler " + action + " 01ABC"); !strings.HasPrefix(got, "对账器") || !strings.Contains(got, "01ABC") {
			t.Errorf("%s: %s", action, got)
		}
	}
	for _, healer := range []string{"check-back", "sweeper", "reconciler", "relay", "coordinator", "xa-recovery", "notifier"} {
		if got := chinese.Sentence(healer); got == healer {
			t.Errorf("%s has no translation", healer)
		}
	}
}

// TestCrashPoints: the Chinese page of crash points says what the book says.
func TestCrashPoints(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/crash-points.zh.md")
	if err != nil {
		t.Fatal(err)
	}
	chinese := book(t, "zh")
	for _, p := range crash.List() {
		cells := []string{string(p.Point), chinese.Sentence(p.Dies), chinese.Sentence(p.Ends), chinese.Sentence(p.Healer), p.Try}
		if row := "| " + strings.Join(cells, " | ") + " |\n"; !strings.Contains(string(page), row) || cells[1] == p.Dies || cells[2] == p.Ends || cells[3] == p.Healer {
			t.Errorf("docs/crash-points.zh.md lacks\n%s", row)
		}
	}
}

// sentence is a text that a person reads, and no command, flag or name.
var sentence = regexp.MustCompile(`[A-Za-z]{2,},? [A-Za-z]{2,}`)

// TestDoctor: the book has every sentence of the doctor, or the parts from which it is put together.
func TestDoctor(t *testing.T) {
	t.Parallel()
	all := strings.Join(group(t, "doctor"), "\n")
	plain := func(text string) string { return verb.ReplaceAllString(text, "%s") }
	commands := []string{
		"docker compose logs ", "docker stop ", "docker compose --profile '*' down", "permission denied", "holdfast doctor",
		"export NO_PROXY=localhost,127.0.0.1 no_proxy=localhost,127.0.0.1",
	}
	constants := literals(t, "../../dev/doctor", func(node ast.Node) []ast.Expr {
		if e, ok := node.(*ast.BasicLit); ok {
			return []ast.Expr{e}
		}
		return nil
	})
	for _, text := range constants {
		if sentence.MatchString(text) && !slices.Contains(commands, text) && !strings.Contains(plain(all), plain(text)) {
			t.Errorf("the texts lack %q", text)
		}
	}
}

// TestSentence: what fills a placeholder is said in the language too, and what is unknown stays as it came.
func TestSentence(t *testing.T) {
	t.Parallel()
	chinese := book(t, "zh")
	for english, want := range map[string]string{
		"is PAID, but its reservation is released":                                               "状态是 PAID，它的预占记录却是 released",
		"is PLACED, but inventory has given it a refusal":                                        "状态是 PLACED，库存服务给它的却是拒绝",
		"has 100 cents of u1 in the log and 90 cents of u2 in the wallet":                        "日志里是 u1 的 100 分，钱包里是 u2 的 90 分",
		"1 problem would stop make up with Docker (2 warnings)":                                  "1 个问题会使 make up（使用 Docker）失败（2 个警告）",
		"linux/amd64, 2 CPUs, kernel 6.1.0, in a container, whose ports and memory are examined": "linux/amd64，2 个 CPU，内核 6.1.0，在容器中，检查的是容器的端口和内存",
		"8080, which api-gateway needs, is in use by nginx (process 42)":                         "8080 被 nginx（进程 42）占用，api-gateway 需要它",
		"1.2 GB free for the state in /srv/.run, 91% used, needed 500 MB":                        "状态目录（/srv/.run）可用 1.2 GB，已用 91%，需要 500 MB",
		"the sweeper abandoned 01ABC":                                                            "清扫器放弃了 01ABC",
		"a sentence that came later":                                                             "a sentence that came later",
	} {
		if got := chinese.Sentence(english); got != want {
			t.Errorf("%q: got %q, want %q", english, got, want)
		}
		if got := book(t, "en").Sentence(english); got != english {
			t.Errorf("in English: %q became %q", english, got)
		}
	}
	if got := chinese.Say("audit.violation", 7, "dead letters", "cannot be read: EOF"); got != "违规 不变量 7：死信：无法读取：EOF" {
		t.Error(got)
	}
}
