package e2e_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestReadmeCommands runs every curl block of the README, in order and in one shell, against a shop of the test. No
// curl may be answered with a problem.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	sh := newShop(t, setup{})
	seed := exec.Command(sh.inventory.cmd.Path, "seed")
	seed.Env = sh.inventory.cmd.Env
	if out, err := seed.CombinedOutput(); err != nil {
		t.Fatalf("seed: %v\n%s", err, out)
	}
	var script strings.Builder
	script.WriteString("set -eu\n")
	curls := 0
	for _, m := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
		if strings.Contains(m[1], "curl") {
			script.WriteString(m[1])
			curls += strings.Count(m[1], "curl ")
		}
	}
	if curls < 15 {
		t.Fatalf("found only %d curl commands: does the README show every public route?", curls)
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
		if a[1] != "200" && a[1] != "201" {
			t.Errorf("answer %d has status %s", i+1, a[1])
		}
	}
	if strings.Contains(string(out), `"code":`) {
		t.Error("a problem was answered")
	}
	if len(answers) != 15 {
		t.Errorf("%d answers, want 15", len(answers))
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
	sh.audit(60 * time.Second)
}

// TestReadmeRoutes compares the README with the gateway's routes: every public route must have an example.
func TestReadmeRoutes(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	routes, err := os.ReadFile("../api-gateway/internal/gateway/routes.go")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile(`\$\w+|[A-Z]+-[A-Z0-9-]+`).ReplaceAllString(string(page), "X")
	found := regexp.MustCompile(`"(?:/v1)?(/(?:login|orders|products|admin)[a-z_/:]*)"`).FindAllStringSubmatch(string(routes), -1)
	if len(found) < 9 {
		t.Fatalf("found only %d routes", len(found))
	}
	for _, m := range found {
		want := regexp.MustCompile(`:\w+`).ReplaceAllString(m[1], "X")
		if !strings.Contains(examples, want) {
			t.Errorf("the README has no example of %s", m[1])
		}
	}
}
