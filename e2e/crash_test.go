package e2e_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/pkg/mq/devbroker"
)

// crashesAtOnce bounds the concurrent shops of TestCrashPoints. Each shop mostly waits for timers and for the broker.
const crashesAtOnce = 8

// crashRow is a row of the table: the fault, and the expected result.
type crashRow struct {
	killed  string
	run     func(t *testing.T, b crashBroker) (became string)
	devOnly string // why RocketMQ cannot do it; empty: both brokers can
}

// crashBroker is a broker of one kind. Tests that kill their broker start their own.
type crashBroker struct {
	name    string
	namesrv string
	real    bool
}

func crashRows() []crashRow {
	return slices.Concat(pointRows(), cutRows(), serverRows(), flowPointRows(), tccRows(), xaRows(), notifyRows())
}

// TestCrashPoints kills processes and cuts connections at every step of an order, and prints the results. With RocketMQ
// the development broker gets the rows that RocketMQ cannot do, and with make flows-all every row. The healer in a row
// worked alone: the other healers were switched off.
func TestCrashPoints(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs MySQL, Redis and RocketMQ")
	}
	dir, err := withCrashPoints.build()
	if err != nil {
		t.Fatalf("build the services: %v", err)
	}
	hasNoCrashPoints(t, dir)
	table := newCrashTable()
	slots := make(chan struct{}, crashesAtOnce)
	var running sync.WaitGroup
	brokers := crashBrokers(t)
	for _, b := range brokers {
		for _, row := range slices.Backward(crashRows()) { // the last rows take longest
			if b.real && row.devOnly != "" {
				table.put(row.killed, b.name, "only on the development broker: "+row.devOnly)
				continue
			}
			if !b.real && row.devOnly == "" && len(brokers) > 1 && os.Getenv("HOLDFAST_FLOWS") != "all" {
				continue // RocketMQ has it
			}
			// t.Parallel would run only as many rows at once as there are processors.
			slots <- struct{}{}
			running.Go(func() {
				defer func() { <-slots }()
				t.Run(b.name+"/"+row.killed, func(t *testing.T) {
					begin := time.Now()
					became := "FAILED"
					defer func() { table.put(row.killed, b.name, fmt.Sprintf("%s (%.0f s)", became, time.Since(begin).Seconds())) }()
					became = row.run(t, b)
					if t.Failed() {
						became = "FAILED"
					}
				})
			})
		}
	}
	running.Wait()
	t.Log(table.String())
}

// crashBrokers starts both brokers, or logs why there is only one.
func crashBrokers(t *testing.T) []crashBroker {
	t.Helper()
	dev := devBroker(t, "")
	t.Cleanup(func() { _ = dev.Close() })
	brokers := []crashBroker{{name: "development broker", namesrv: dev.Addr()}}
	if err := stack.RocketMQAvailable(); err != nil {
		t.Logf("RocketMQ cannot run here, half of the table is missing: %v", err)
		return brokers
	}
	namesrv := os.Getenv("HOLDFAST_NAMESRV")
	if !strings.HasPrefix(os.Getenv("HOLDFAST_BROKER"), "RocketMQ") { // no running broker was given
		namesrv = stacktest.OwnRocketMQ(t).NamesrvAddr
	}
	return append([]crashBroker{{name: "RocketMQ", namesrv: namesrv, real: true}}, brokers...)
}

// devBroker starts a development broker at addr, or on a free port. It checks open transactions as early as
// stacktest's RocketMQ. The caller closes it.
func devBroker(t *testing.T, addr string) *devbroker.Broker {
	t.Helper()
	t.Log("runs on development broker")
	b, err := devbroker.Start(devbroker.Options{Addr: addr, TransactionTimeout: 3 * time.Second, CheckInterval: 2 * time.Second, CheckMax: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// crashTable collects the results of all rows on all brokers.
type crashTable struct {
	mu     sync.Mutex
	became map[[2]string]string
}

func newCrashTable() *crashTable { return &crashTable{became: map[[2]string]string{}} }

func (c *crashTable) put(killed, broker, became string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.became[[2]string{killed, broker}] = became
}

// String returns the table in the order of the rows.
func (c *crashTable) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	b.WriteString("what became of it\n")
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	for _, row := range crashRows() {
		for _, broker := range []string{"RocketMQ", "development broker"} {
			if became, ok := c.became[[2]string{row.killed, broker}]; ok {
				fmt.Fprintf(w, "| %s\t| %s\t| %s\t|\n", row.killed, broker, became)
			}
		}
	}
	_ = w.Flush()
	return b.String()
}

// hasNoCrashPoints compares the two builds: an ordinary one must contain nothing of the crash points.
func hasNoCrashPoints(t *testing.T, with string) {
	t.Helper()
	without, err := ordinary.build()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"order-srv", "inventory-srv"} {
		for dir, want := range map[string]bool{with: true, without: false} {
			program, err := os.ReadFile(dir + "/" + name)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(string(program), "CRASH_MARKS"); got != want {
				t.Errorf("%s/%s has crash points: %v, want %v", dir, name, got, want)
			}
		}
	}
}

// TestCrashPage compares both pages with the table that TestCrashPoints runs. The Chinese page has a translation of
// each row, in the same order: it names the same service and statuses.
func TestCrashPage(t *testing.T) {
	t.Parallel()
	var want []string
	for _, row := range crashRows() {
		want = append(want, row.killed)
	}
	if got := killedRows(t, "../docs/crash-points.md"); !slices.Equal(got, want) {
		t.Errorf("the page lists\n  %s\nand the test runs\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	chinese := killedRows(t, "../docs/crash-points.zh.md")
	if len(chinese) != len(want) {
		t.Fatalf("the Chinese page lists %d rows, and the test runs %d", len(chinese), len(want))
	}
	// names are what a translation keeps.
	names := regexp.MustCompile(`(?:order|inventory)-srv|\b(?:xa|tcc|outbox|queue|ack|MySQL)\b|[A-Z]{4,}`)
	for i, killed := range want {
		if got := chinese[i]; !regexp.MustCompile(`\p{Han}`).MatchString(got) || !slices.Equal(named(names, got), named(names, killed)) {
			t.Errorf("row %d of the Chinese page is %q, for %q", i+1, got, killed)
		}
	}
}

// killedRows returns the first cells of a page's table of what is killed or cut.
func killedRows(t *testing.T, page string) []string {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|]*) \| [^|]* \|$`).FindAllStringSubmatch(string(b), -1) {
		got = append(got, m[1])
	}
	if len(got) == 0 {
		t.Fatalf("%s has no such table", page)
	}
	return got[1:] // after the heading
}

// named returns the names in a text, sorted: a translation may have them in another order.
func named(names *regexp.Regexp, text string) []string {
	found := names.FindAllString(text, -1)
	slices.Sort(found)
	return slices.Compact(found)
}
