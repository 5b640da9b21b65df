package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/pkg/wait"
)

// rateTime is how long the broker's checks are counted to compute their rate.
const rateTime = time.Second

type statusCmd struct{}

// Run shows the stack. It exits with status 1 if a part is missing. If no process is recorded, it shows the audit of
// the gateway at --url, for instance under compose.
func (*statusCmd) Run(ctx context.Context, c *cli, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	state, err := stack.Load(c.Dir)
	if err != nil {
		return err
	}
	if len(state.Components) == 0 {
		if err := printOrders(ctx, c.URL, stdout); err != nil {
			return exit{1, fmt.Errorf("nothing runs (state in %s), and no gateway answers at %s", c.Dir, c.URL)}
		}
		fmt.Fprintln(stdout, "check-back rate and repeated releases: unknown, because the operations ports cannot be reached from here")
		return nil
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PART\tSTATE\tPID\tMEMORY\tWHAT")
	for _, p := range state.Components {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d MB\t%s\n", p.Name, p.State(ctx), p.PID, p.MemoryMB(), p.What)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if !state.Up(ctx) {
		return exit{1, fmt.Errorf("a part is missing: holdfast up starts it again")}
	}
	if err := printOrders(ctx, c.URL, stdout); err != nil {
		return err
	}
	return printRates(ctx, state, stdout)
}

// printOrders prints the audit's counts of orders and messages.
func printOrders(ctx context.Context, url string, stdout io.Writer) error {
	report, err := audit(ctx, url)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "\norders: %s\n", countsLine(report.Orders))
	fmt.Fprintf(stdout, "messages: %s\n", messagesLine(report.Messages))
	if m := report.Messages; m.Undecided > 0 && m.OldestUndecided > m.LateAfter {
		fmt.Fprintf(stdout, "ALARM: half messages stay undecided for longer than %v\n", m.LateAfter)
	}
	return nil
}

// printRates prints figures from the metrics of all replicas.
func printRates(ctx context.Context, state stack.State, stdout io.Writer) error {
	before, err := scrape(ctx, state)
	if err != nil {
		return err
	}
	started := time.Now()
	if err := wait.Sleep(ctx, rateTime); err != nil {
		return err
	}
	after, err := scrape(ctx, state)
	if err != nil {
		return err
	}
	rate := (after["mq_checks_total"] - before["mq_checks_total"]) / time.Since(started).Seconds()
	fmt.Fprintf(stdout, "check-back: %.0f checks/s, %.0f half messages undecided on all replicas; %.0f releases delivered again since the start\n",
		max(0, rate), after["order_half_messages_undecided"], after["stock_release_repeats_total"])
	return nil
}

// scrape sums the metrics of all services by name, over all labels.
func scrape(ctx context.Context, state stack.State) (map[string]float64, error) {
	sums := map[string]float64{}
	for _, p := range state.Components {
		if p.Ops == "" {
			continue
		}
		if err := scrapeOne(ctx, p.Ops, sums); err != nil {
			return nil, fmt.Errorf("read the metrics of %s: %w", p.Name, err)
		}
	}
	return sums, nil
}

func scrapeOne(ctx context.Context, ops string, sums map[string]float64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ops+"/metrics", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // read only
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET /metrics: %s", res.Status)
	}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		name, value, ok := sample(lines.Text())
		if ok {
			sums[name] += value
		}
	}
	return lines.Err()
}

// sample reads one line of Prometheus' text format, "name{label="x"} 1.5". ok is false for comments.
func sample(line string) (name string, value float64, ok bool) {
	i := strings.LastIndexByte(line, ' ')
	if i < 0 || strings.HasPrefix(line, "#") {
		return "", 0, false
	}
	name, _, _ = strings.Cut(line[:i], "{")
	value, err := strconv.ParseFloat(line[i+1:], 64)
	return name, value, err == nil
}
