package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	_ "github.com/go-sql-driver/mysql" // to ask the server when order-srv cannot be asked
	"github.com/oklog/ulid/v2"

	"holdfast/internal/dev/stack"
	"holdfast/internal/lab/phrase"
	"holdfast/internal/lab/step"
	"holdfast/order-srv/check"
	"holdfast/pkg/database"
	"holdfast/pkg/fault"
	"holdfast/pkg/wait"
)

// rateTime is how long the broker's checks are counted to compute their rate.
const rateTime = time.Second

type statusCmd struct {
	Lang string `help:"Language of the text: en or zh. Default: that of HOLDFAST_LANG, else of LANG. --json is always English." enum:",en,zh" default:""`
	JSON bool   `help:"Print one JSON document." name:"json"`
}

// Run shows the stack. It exits with status 1 if a part is missing. If no process is recorded, it shows the audit of
// the gateway at --url, for instance under compose.
func (s *statusCmd) Run(ctx context.Context, c *cli, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	state, err := stack.Load(c.Dir)
	if err != nil {
		return err
	}
	lang := language(s.Lang)
	if s.JSON {
		lang = step.Languages()[0] // programs read it
	}
	in, err := phrase.New(lang)
	if err != nil {
		return err
	}
	shown, err := inspect(ctx, c, state, in)
	if s.JSON {
		return errors.Join(err, printJSON(stdout, shown))
	}
	shown.print(stdout, in)
	return err
}

// inspect returns what can be found out, also with an error.
func inspect(ctx context.Context, c *cli, state stack.State, in *phrase.Book) (statusResult, error) {
	shown := statusResult{Parts: []partResult{}}
	for _, p := range state.Components {
		shown.Parts = append(shown.Parts, partResult{p.Name, p.State(ctx), p.PID, p.MemoryMB(), p.What, p.Log})
	}
	if len(state.Components) > 0 && !state.Up(ctx) {
		// order-srv may be the part that is missing. What it has left prepared locks rows until it is back.
		branches, err := leftBranches(ctx, stack.UpVars(os.Getenv).MySQL, "orders")
		shown.report.Branches, shown.Branches = branches, newBranchResults(branches)
		return shown, errors.Join(err, exit{1, errors.New(in.Say("status.missing"))})
	}
	report, err := audit(ctx, c.URL, false, nil)
	if err != nil && len(state.Components) == 0 {
		return shown, exit{1, errors.New(in.Say("status.nothing", c.Dir, c.URL))}
	}
	if err != nil {
		return shown, err
	}
	messages := newMessagesResult(report.Messages)
	shown.Up, shown.Orders, shown.Messages, shown.report = true, report.Orders, &messages, report
	n := report.Unnotified
	shown.Notifications = &notificationsResult{Pending: n.Pending, Failing: n.Failing, Oldest: n.Oldest.Seconds(), GivenUp: n.GivenUp}
	shown.InDoubt, shown.Branches = newInDoubtResults(report.InDoubt), newBranchResults(report.Branches)
	if len(state.Components) == 0 {
		return shown, nil
	}
	rates, err := measureRates(ctx, state)
	if err != nil {
		return shown, err
	}
	shown.CheckBack = &rates
	return shown, nil
}

// leftBranches lists the prepared branches of the flow xa as the database server has them, for a shop whose services
// cannot be asked. orders is the database with the coordinator's log. None, if the server does not answer either: then
// it is listed as gone.
func leftBranches(ctx context.Context, dsn, orders string) ([]check.Branch, error) {
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return nil, err
	}
	defer db.Close() //nolint:errcheck // nothing was written
	xids, err := database.ListXids(ctx, db)
	if fault.KindOf(err) == fault.Unavailable {
		return nil, nil
	}
	var left []check.Branch
	for _, x := range xids {
		b := check.Branch{OrderNo: x.Gtrid, Side: x.Bqual, Locks: []string{"the rows that it has changed"}}
		if id, err := ulid.ParseStrict(x.Gtrid); err == nil {
			b.Age = max(0, time.Since(id.Timestamp()))
		}
		logged := db.QueryRowContext(ctx, "SELECT state FROM "+orders+".xa_log WHERE gtrid = ?", x.Gtrid).Scan(&b.State)
		if logged != nil && !errors.Is(logged, sql.ErrNoRows) {
			return left, fmt.Errorf("read the log of the flow xa: %w", logged)
		}
		left = append(left, b)
	}
	return left, err
}

// print prints the status for people.
func (s statusResult) print(stdout io.Writer, in *phrase.Book) {
	if len(s.Parts) > 0 {
		rows := [][]string{{in.Say("status.part"), in.Say("status.state"), in.Say("status.pid"), in.Say("status.memory"), in.Say("status.what")}}
		for _, p := range s.Parts {
			rows = append(rows, []string{p.Name, in.Sentence(p.State), fmt.Sprint(p.PID), fmt.Sprintf("%d MB", p.MemoryMB), p.What})
		}
		printTable(stdout, rows, false)
	}
	if s.Messages == nil {
		printInDoubt(stdout, s.report, in)
		return
	}
	printMovement(stdout, s.Orders, s.report.Messages, in)
	n := s.report.Unnotified
	fmt.Fprintln(stdout, in.Say("status.notifications", counted("status.pending", n.Pending, n.Oldest, in), n.Failing, n.GivenUp))
	printInDoubt(stdout, s.report, in)
	if s.Messages.Late {
		fmt.Fprintln(stdout, in.Say("status.alarm", s.report.Messages.LateAfter))
	}
	if len(s.Parts) == 0 {
		fmt.Fprintln(stdout, in.Say("status.unknown"))
	}
	if r := s.CheckBack; r != nil {
		fmt.Fprintln(stdout, in.Say("status.check-back", r.ChecksPerSecond, r.Undecided, r.ReleaseRepeats))
	}
}

// measureRates computes figures from the metrics of all replicas.
func measureRates(ctx context.Context, state stack.State) (checkBackResult, error) {
	before, err := scrape(ctx, state)
	if err != nil {
		return checkBackResult{}, err
	}
	started := time.Now()
	if err := wait.Sleep(ctx, rateTime); err != nil {
		return checkBackResult{}, err
	}
	after, err := scrape(ctx, state)
	if err != nil {
		return checkBackResult{}, err
	}
	rate := (after["mq_checks_total"] - before["mq_checks_total"]) / time.Since(started).Seconds()
	return checkBackResult{max(0, rate), after["order_half_messages_undecided"], after["stock_release_repeats_total"]}, nil
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
