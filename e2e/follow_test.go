package e2e_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
)

var block = regexp.MustCompile("(?ms)^(## \\w+)$|^```(\\w+) ?([\\w-]*)\n(.*?)^```$")

// TestFollowAnOrder does what docs/follow-an-order.md says: it places and pays the order, runs the page's statements,
// and expects the page's results and log lines.
func TestFollowAnOrder(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/follow-an-order.md")
	if err != nil {
		t.Fatal(err)
	}
	sh := newShop(t, setup{strategy: "redis-lock"})
	const sku = "MUG-1"
	sh.product(sku, 100)
	ann := sh.login("ann", "buyer")
	var orderNo string
	fill := func(text string) string {
		return strings.NewReplacer("$ORDER", orderNo, "$SKU", sku).Replace(text)
	}
	steps := map[string]func(){
		"## Placed": func() {
			a := sh.must(http.StatusCreated, http.MethodPost, "/v1/orders", ann, fmt.Sprintf(`{"items":[{"sku":%q,"quantity":2}]}`, sku),
				"Idempotency-Key", "follow", "X-Request-ID", "follow-place")
			if got := a.Header.Get("X-Request-ID"); got != "follow-place" {
				t.Errorf("request id came back as %q", got)
			}
			orderNo = a.order(t).OrderNo
		},
		"## Paid": func() {
			sh.must(http.StatusOK, http.MethodPost, "/v1/orders/"+orderNo+"/payment", ann, "", "X-Request-ID", "follow-pay")
		},
	}
	dbs := map[string]*sql.DB{"orders": sh.ordersDB, "inventory": sh.stockDB}
	logs := map[string]*service{"api-gateway": sh.gateway, "order-srv": sh.order, "inventory-srv": sh.inventory}

	var db *sql.DB
	var statements string
	checked := map[string]int{}
	for _, m := range block.FindAllStringSubmatch(string(page), -1) {
		heading, kind, where, text := m[1], m[2], m[3], m[4]
		checked[heading+kind]++
		switch {
		case heading != "":
			steps[heading]()
		case kind == "sql":
			db, statements = dbs[where], text
		case kind == "result":
			want := strings.TrimSpace(fill(text))
			testkit.Eventually(sh.tb, 30*time.Second, "the page's rows after:\n"+statements, func() error {
				got, err := rows(db, fill(statements))
				if err == nil && got != want {
					err = fmt.Errorf("got:\n%s\nthe page says:\n%s", got, want)
				}
				return err
			})
		case kind == "log":
			testkit.Eventually(sh.tb, 30*time.Second, where+" logs "+text, func() error { return hasLine(logs[where].log.String(), strings.Fields(fill(text))) })
		}
	}
	for what, atLeast := range map[string]int{"## Placed": 1, "## Paid": 1, "sql": 6, "result": 6, "log": 4} {
		if checked[what] < atLeast {
			t.Errorf("the page has only %d of %q", checked[what], what)
		}
	}
}

// mostFiles bounds an order's way through the services. It may only fall.
const mostFiles = 20

// TestFollowAnOrder_files: each file of the page's list exists and has the function that the list names.
func TestFollowAnOrder_files(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/follow-an-order.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, m := range block.FindAllStringSubmatch(string(page), -1) {
		if m[2] != "files" {
			continue
		}
		for line := range strings.Lines(m[4]) {
			file, function, _ := strings.Cut(strings.TrimSpace(line), " ")
			source, err := os.ReadFile("../" + file)
			if err != nil {
				t.Error(err)
			} else if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + function + `\(`).Match(source) {
				t.Errorf("%s has no function %s", file, function)
			}
			if seen[file] {
				t.Errorf("%s is in the list twice", file)
			}
			seen[file] = true
		}
	}
	if len(seen) == 0 || len(seen) > mostFiles {
		t.Errorf("the list has %d files, want 1 to %d", len(seen), mostFiles)
	}
}

// TestFollowAnOrder_chinese: the Chinese page has the statements, results, log lines and files of the English one.
func TestFollowAnOrder_chinese(t *testing.T) {
	t.Parallel()
	fences := regexp.MustCompile("(?ms)^```.*?^```$")
	var blocks [2][]string
	for i, page := range []string{"../docs/follow-an-order.md", "../docs/follow-an-order.zh.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks[i] = fences.FindAllString(string(text), -1)
	}
	if len(blocks[0]) == 0 || !slices.Equal(blocks[0], blocks[1]) {
		t.Errorf("the English page has %d blocks, the Chinese one %d, or they differ", len(blocks[0]), len(blocks[1]))
	}
}

// rows runs each statement and returns all rows, a line each.
func rows(db *sql.DB, statements string) (string, error) {
	var out []string
	for statement := range strings.SplitSeq(strings.TrimSpace(statements), ";\n") {
		if err := query(db, strings.TrimSuffix(statement, ";"), &out); err != nil {
			return "", fmt.Errorf("%s: %w", statement, err)
		}
	}
	return strings.Join(out, "\n"), nil
}

func query(db *sql.DB, statement string, out *[]string) error {
	r, err := db.Query(statement)
	if err != nil {
		return err
	}
	defer r.Close()
	columns, err := r.Columns()
	if err != nil {
		return err
	}
	for r.Next() {
		cells := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range cells {
			into[i] = &cells[i]
		}
		if err := r.Scan(into...); err != nil {
			return err
		}
		texts := make([]string, len(cells))
		for i, c := range cells {
			texts[i] = c.String
		}
		*out = append(*out, strings.Join(texts, " | "))
	}
	return r.Err()
}

// hasLine looks for one log line that holds all of the parts.
func hasLine(log string, parts []string) error {
next:
	for line := range strings.Lines(log) {
		for _, p := range parts {
			if !strings.Contains(line, p) {
				continue next
			}
		}
		return nil
	}
	return fmt.Errorf("no line has all of %q", parts)
}
