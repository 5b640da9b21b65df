package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/pkg/fault"
	"holdfast/pkg/web"
)

// problem is what the source says of one code.
type problem struct {
	status    int
	ambiguous string // yes, no, or either
}

// codes are the fault codes of the source tree.
type codes struct {
	t     *testing.T
	found map[string]problem
	names map[string]string // code by folder and name of its variable
}

// TestProblems compares the page of the codes with each fault.New in the source.
func TestProblems(t *testing.T) {
	t.Parallel()
	c := &codes{t: t, found: map[string]problem{}, names: map[string]string{}}
	files := sources(t)
	for _, visit := range []func(dir string, n ast.Node) bool{c.define, c.derive} {
		for path, file := range files {
			ast.Inspect(file, func(n ast.Node) bool { return visit(filepath.Dir(path), n) })
		}
	}
	if len(c.found) < 50 {
		t.Fatalf("found only %d codes", len(c.found))
	}
	for _, page := range []string{"problems.md", "problems.zh.md"} {
		if diff := cmp.Diff(c.found, documented(t, page), cmp.AllowUnexported(problem{})); diff != "" {
			t.Errorf("the source (-) and %s (+) differ:\n%s", page, diff)
		}
	}
}

// sources parses the files of production by path.
func sources(t *testing.T) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	for _, root := range []string{"../pkg", "../api-gateway", "../order-srv", "../inventory-srv"} {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(filepath.Dir(path), "test") {
				return err
			}
			files[path], err = parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// define records the faults of one declaration: ErrX = fault.New(…), perhaps followed by calls that derive from it.
func (c *codes) define(dir string, n ast.Node) bool {
	switch n := n.(type) {
	case *ast.ValueSpec:
		for i, value := range n.Values {
			if call := newCall(dir, root(value)); call != nil {
				c.names[dir+" "+n.Names[i].Name] = c.code(call)
			}
		}
	case *ast.CallExpr:
		if call := newCall(dir, root(n)); call != nil {
			c.add(call, derived(n))
		}
		return newCall(dir, root(n)) == nil // a chain is looked at once, from its end
	}
	return true
}

// derive records ErrX.NotExecuted() and ErrX.MaybeExecuted() away from the declaration.
func (c *codes) derive(dir string, n ast.Node) bool {
	call, ok := n.(*ast.CallExpr)
	if !ok || derived(call) == "" {
		return true
	}
	switch x := root(call).(type) {
	case *ast.Ident:
		c.mark(c.names[dir+" "+x.Name], derived(call))
	case *ast.SelectorExpr:
		for name, code := range c.names {
			if pkg, ok := x.X.(*ast.Ident); ok && strings.HasSuffix(name, "/"+pkg.Name+" "+x.Sel.Name) {
				c.mark(code, derived(call))
			}
		}
	}
	return true
}

// root returns what a chain of method calls begins with.
func root(e ast.Expr) ast.Expr {
	for {
		call, ok := e.(*ast.CallExpr)
		if !ok {
			return e
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name == "New" {
			return e
		}
		if _, ok := sel.X.(*ast.CallExpr); !ok && !strings.HasPrefix(sel.Sel.Name, "With") && sel.Sel.Name != "Wrap" && !strings.HasSuffix(sel.Sel.Name, "Executed") {
			return e
		}
		e = sel.X
	}
}

// newCall returns e as a call of fault.New, or nil.
func newCall(dir string, e ast.Expr) *ast.CallExpr {
	call, ok := e.(*ast.CallExpr)
	if !ok || len(call.Args) != 3 {
		return nil
	}
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok && x.Name == "fault" && f.Sel.Name == "New" {
			return call
		}
	case *ast.Ident:
		if f.Name == "New" && dir == "../pkg/fault" {
			return call
		}
	}
	return nil
}

// derived returns "no" for a chain with NotExecuted, "yes" for one with MaybeExecuted, and "" for others.
func derived(e ast.Expr) string {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return ""
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	switch sel.Sel.Name {
	case "NotExecuted":
		return "no"
	case "MaybeExecuted":
		return "yes"
	}
	return derived(sel.X)
}

// code returns the code of a call of fault.New. pkg/rest alone makes codes of its services' names.
func (c *codes) code(call *ast.CallExpr) string {
	switch arg := call.Args[1].(type) {
	case *ast.BasicLit:
		code, err := strconv.Unquote(arg.Value)
		if err != nil {
			c.t.Fatal(err)
		}
		return code
	case *ast.BinaryExpr:
		if suffix, ok := arg.Y.(*ast.BasicLit); ok {
			return "<service>" + strings.Trim(suffix.Value, `"`)
		}
	}
	c.t.Fatalf("a code is not a literal: %v", call.Args[1])
	return ""
}

func (c *codes) add(call *ast.CallExpr, derived string) {
	kind := ""
	switch k := call.Args[0].(type) {
	case *ast.SelectorExpr:
		kind = k.Sel.Name
	case *ast.Ident:
		kind = k.Name
	}
	code, p := c.code(call), problem{status: web.Status(kinds()[kind])}
	if !regexp.MustCompile(`^(<service>)?[a-z0-9_]+$`).MatchString(code) {
		c.t.Errorf("%q is not snake_case", code)
	}
	if was, ok := c.found[code]; ok && was.status != p.status {
		c.t.Errorf("%s is two codes: it has the statuses %d and %d", code, was.status, p.status)
	}
	p.ambiguous = c.found[code].ambiguous
	c.found[code] = p
	switch {
	case derived != "":
		c.mark(code, derived)
	case strings.HasPrefix(code, "<"):
		c.mark(code, "either") // pkg/rest knows whether it has sent the request
	case fault.New(kinds()[kind], "", "").Ambiguous:
		c.mark(code, "yes")
	default:
		c.mark(code, "no")
	}
}

func (c *codes) mark(code, ambiguous string) {
	p, ok := c.found[code]
	if !ok {
		return
	}
	if p.ambiguous != "" && p.ambiguous != ambiguous {
		ambiguous = "either"
	}
	p.ambiguous = ambiguous
	c.found[code] = p
}

// kinds are the kinds by the names of their constants.
func kinds() map[string]fault.Kind {
	return map[string]fault.Kind{
		"Invalid": fault.Invalid, "TooLarge": fault.TooLarge, "Unauthenticated": fault.Unauthenticated, "Forbidden": fault.Forbidden,
		"NotFound": fault.NotFound, "Conflict": fault.Conflict, "Mismatch": fault.Mismatch, "Closed": fault.Closed,
		"Limited": fault.Limited, "Contended": fault.Contended, "Unavailable": fault.Unavailable, "Timeout": fault.Timeout,
		"Internal": fault.Internal,
	}
}

var problemRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (\\d{3}) \\| (yes|no|either|是|否|不定) \\| [^|]+ \\| [^|]+ \\|$")

// documented reads the rows of a page.
func documented(t *testing.T, page string) map[string]problem {
	t.Helper()
	words := map[string]string{"是": "yes", "否": "no", "不定": "either"}
	rows := map[string]problem{}
	var order []string
	for _, m := range problemRow.FindAllStringSubmatch(read(t, page), -1) {
		status, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		ambiguous := m[3]
		if word, ok := words[ambiguous]; ok {
			ambiguous = word
		}
		if _, ok := rows[m[1]]; ok {
			t.Errorf("%s has two rows for %s", page, m[1])
		}
		rows[m[1]] = problem{status, ambiguous}
		order = append(order, m[1])
	}
	if !slices.IsSorted(order) {
		t.Errorf("the rows of %s are not sorted: %v", page, order)
	}
	return rows
}
