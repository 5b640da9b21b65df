package e10

import (
	"strings"
	"testing"

	"holdfast/inventory-srv/inventorylab/strategytest"
)

// TestSuiteFinding reads outputs of the testing package. The first case of the suite that failed is explained, with its
// own first message.
func TestSuiteFinding(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, out, id, why string }{
		{"two cases", `=== RUN   TestSuite
=== RUN   TestSuite/confirm
=== PAUSE TestSuite/confirm
=== CONT  TestSuite/confirm
    suite.go:86: runs on MariaDB 10.11
    orders.go:12: confirm: no such row
=== NAME  TestSuite/exact_sell-out
    suite.go:99: sold 41, refused 79; want 40, 80
        and more
    suite.go:100: HOT: available -1
--- FAIL: TestSuite (1.00s)
    --- FAIL: TestSuite/confirm (0.10s)
    --- FAIL: TestSuite/exact_sell-out (0.20s)
FAIL
`, "suite-exact-sell-out", "sold 41, refused 79; want 40, 80\nand more"},
		{"panic", "=== RUN   TestSuite\npanic: boom\n\ngoroutine 1 [running]:\n", "suite-panic", "panic: boom"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, err := suiteFinding("TestSuite", []byte(c.out))
			if err != nil || f.ID != c.id || f.Why.Args[0] != c.why {
				t.Errorf("got %+v, error %v; want %s, %q", f, err, c.id, c.why)
			}
		})
	}
}

// TestTexts: every case of the suite has a promise in both languages.
func TestTexts(t *testing.T) {
	t.Parallel()
	for _, lang := range []string{"en", "zh"} {
		text, err := texts.ReadFile("texts/" + lang + ".json")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range strategytest.Cases() {
			if !strings.Contains(string(text), `"`+slug(name)+`": `) {
				t.Errorf("%s: no promise for %q", lang, name)
			}
		}
	}
}
