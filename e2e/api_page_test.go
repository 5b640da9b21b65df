package e2e_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestAPIPage_commands runs every command of docs/api.md, in order and in one shell, against a shop of the test. No
// curl may be answered with a problem.
func TestAPIPage_commands(t *testing.T) {
	t.Parallel()
	page := readFile(t, "../docs/api.md")
	sh := newShop(t, setup{wallet: true, env: patient()}) // an audit is waited for as long as a request may take
	seed := exec.Command(sh.inventory.cmd.Path, "seed")
	seed.Env = sh.inventory.cmd.Env
	if out, err := seed.CombinedOutput(); err != nil {
		t.Fatalf("seed: %v\n%s", err, out)
	}
	var script strings.Builder
	script.WriteString("set -eu\n")
	curls := 0
	for _, m := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(page, -1) {
		script.WriteString(m[1])
		curls += strings.Count(m[1], "curl ") - strings.Count(m[1], "$(curl ")
	}
	text := strings.ReplaceAll(script.String(), "localhost:8080", sh.gateway.http)
	// -w adds a line with its status to each answer.
	text = strings.ReplaceAll(text, "\ncurl -s", "\ncurl -s -w '\\nHTTP %{http_code}\\n'")
	out, err := exec.Command("bash", "-c", text).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	answers := regexp.MustCompile(`(?m)^HTTP (\d+)$`).FindAllStringSubmatch(string(out), -1)
	for i, a := range answers {
		if a[1] != "200" && a[1] != "201" && a[1] != "204" {
			t.Errorf("answer %d has status %s", i+1, a[1])
		}
	}
	if strings.Contains(string(out), `"code":`) {
		t.Error("a problem was answered")
	}
	if curls == 0 || len(answers) != curls {
		t.Errorf("%d answers, want %d", len(answers), curls)
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
	sh.audit(60 * time.Second)
}

// TestAPIPage_routes compares docs/api.md and its Chinese version with the gateway's routes: each route must be in the
// table and have an example, and the table has no other route.
func TestAPIPage_routes(t *testing.T) {
	t.Parallel()
	routes := gatewayRoutes(t)
	for _, name := range []string{"../docs/api.md", "../docs/api.zh.md"} {
		page := readFile(t, name)
		var listed []string
		for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z]+ /v1/[^`]*)` \\|").FindAllStringSubmatch(page, -1) {
			listed = append(listed, m[1])
		}
		slices.Sort(listed)
		if diff := cmp.Diff(routes, listed); diff != "" {
			t.Errorf("the gateway's routes (-) and the table of %s (+) differ:\n%s", name, diff)
		}
		examples := regexp.MustCompile(`localhost:8080(/v1/[^\s"?]*)`).FindAllStringSubmatch(page, -1)
		var called []string
		for _, m := range examples {
			called = append(called, regexp.MustCompile(`\$\w+|[A-Z]+-[A-Z0-9-]+`).ReplaceAllString(m[1], "X"))
		}
		for _, route := range routes {
			_, path, _ := strings.Cut(route, " ")
			if !slices.Contains(called, regexp.MustCompile(`:\w+`).ReplaceAllString(path, "X")) {
				t.Errorf("%s has no example of %s", name, route)
			}
		}
	}
}

// gatewayRoutes returns the gateway's routes, sorted, as "GET /v1/products". It reads them from the source, because
// api-gateway/internal cannot be imported here.
func gatewayRoutes(t *testing.T) []string {
	t.Helper()
	groups := map[string]string{"v1": "/v1", "admin": "/v1/admin"}
	source := readFile(t, "../api-gateway/internal/gateway/routes.go")
	var routes []string
	for _, m := range regexp.MustCompile(`\b(\w+)\.(GET|POST|PUT|DELETE|PATCH)\("([^"]*)"`).FindAllStringSubmatch(source, -1) {
		prefix, ok := groups[m[1]]
		if !ok {
			t.Fatalf("routes.go has a group %s that this test does not know", m[1])
		}
		routes = append(routes, m[2]+" "+prefix+m[3])
	}
	slices.Sort(routes)
	return routes
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
