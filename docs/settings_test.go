package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// setting is one field of a service's settings struct.
type setting struct {
	value  string // the default; "" for none
	secret bool
}

// settings reads the env tags of a service's settings from its source: internal packages cannot be imported here.
func settings(t *testing.T, service string) map[string]setting {
	t.Helper()
	found := map[string]setting{}
	file := "../" + service + "/internal/app/settings.go"
	if service == "wallet" { // order-srv's program in a process of its own
		file = "../order-srv/internal/wallet/settings.go"
	}
	addSettings(t, file, found)
	addSettings(t, "../pkg/config/credential.go", found) // embedded in each settings struct
	if len(found) < 5 {
		t.Fatalf("%s: found only %v", service, found)
	}
	return found
}

// addSettings adds the settings of one file.
func addSettings(t *testing.T, path string, found map[string]setting) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		f, ok := n.(*ast.Field)
		if !ok || f.Tag == nil {
			return true
		}
		quoted, err := strconv.Unquote(f.Tag.Value)
		if err != nil {
			t.Fatal(err)
		}
		tag := reflect.StructTag(quoted)
		name, _, _ := strings.Cut(tag.Get("env"), ",")
		if name == "" {
			return true
		}
		s := setting{value: tag.Get("envDefault")}
		switch kind := f.Type.(type) {
		case *ast.Ident:
			if kind.Name == "bool" && s.value == "" {
				s.value = "false"
			}
			s.secret = kind.Name == "Secret" // in pkg/config itself
		case *ast.SelectorExpr:
			s.secret = kind.Sel.Name == "Secret"
		}
		found[name] = s
		return true
	})
}

var services = []string{"api-gateway", "order-srv", "inventory-srv", "wallet"}

var row = regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| ([^|]*)\\|")

// table returns the variables and defaults of the tables under a heading. A default that is described, and not quoted,
// is "".
func table(t *testing.T, page, heading string) map[string]string {
	t.Helper()
	_, section, ok := strings.Cut(read(t, page), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("%s has no %q", page, heading)
	}
	section, _, _ = strings.Cut(section, "\n#")
	found := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(section, -1) {
		value := strings.TrimSpace(m[2])
		if !strings.HasPrefix(value, "`") {
			value = ""
		}
		found[m[1]] = strings.Trim(value, "`")
	}
	return found
}

// The pages list every variable that a service reads, with its default, and no other.
func TestRunning_listsEverySetting(t *testing.T) {
	t.Parallel()
	for _, page := range []string{"running.md", "running.zh.md"} {
		for _, service := range services {
			want := map[string]string{}
			listed := table(t, page, "### "+service)
			for name, s := range settings(t, service) {
				want[name] = s.value
				if s.secret && listed[name] == "" { // described
					want[name] = ""
				}
			}
			if diff := cmp.Diff(want, listed); diff != "" {
				t.Errorf("%s, %s: the code (-) and the page (+) differ:\n%s", page, service, diff)
			}
		}
	}
}

// .env.example lists them too. It shows the default where all services have the same one and it is no secret.
func TestEnvExample_listsEverySetting(t *testing.T) {
	t.Parallel()
	want := map[string]string{}
	for _, service := range services {
		for name, s := range settings(t, service) {
			if before, seen := want[name]; s.secret || seen && before != s.value {
				s.value = ""
			}
			want[name] = s.value
		}
	}
	got := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^([A-Z_]+)=(\S*)`).FindAllStringSubmatch(read(t, "../.env.example"), -1) {
		got[m[1]] = m[2]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the code (-) and .env.example (+) differ:\n%s", diff)
	}
}

func TestRunning_listsComposeVariables(t *testing.T) {
	t.Parallel()
	want := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^([A-Z_]+)=(\S*)`).FindAllStringSubmatch(read(t, "../.env"), -1) {
		want[m[1]] = m[2]
	}
	for page, heading := range map[string]string{"running.md": "## With Docker Compose", "running.zh.md": "## 用 Docker Compose 运行"} {
		if diff := cmp.Diff(want, table(t, page, heading)); diff != "" {
			t.Errorf("%s: .env (-) and the page (+) differ:\n%s", page, diff)
		}
	}
}

// What the command line and the tests' helpers read is under "Tools".
func TestRunning_listsToolVariables(t *testing.T) {
	t.Parallel()
	names := toolVariables(t)
	if len(names) < 5 {
		t.Fatalf("found only %v in the code", names)
	}
	for page, heading := range map[string]string{"running.md": "### Tools", "running.zh.md": "### 工具"} {
		listed := slices.Collect(maps.Keys(table(t, page, heading)))
		for _, name := range names {
			if !slices.Contains(listed, name) {
				t.Errorf("%s does not list %s", page, name)
			}
		}
	}
}

// toolVariables are the variables that the command line, internal/dev/stack and dbtest read, but for those of services
// that it sets or hands on.
func toolVariables(t *testing.T) []string {
	t.Helper()
	found := map[string]bool{}
	for _, dir := range []string{"../cmd/holdfast", "../internal/dev/stack", "../internal/dev/dbtest"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			for _, m := range regexp.MustCompile(`(?:etenv\(|env:)"([A-Z_]+)"`).FindAllStringSubmatch(read(t, path), -1) {
				found[m[1]] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, service := range services {
		for name := range settings(t, service) {
			delete(found, name)
		}
	}
	return slices.Sorted(maps.Keys(found))
}
