package main

import (
	"bytes"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack"
	"holdfast/order-srv/check"
	schema "holdfast/sql"
)

// TestMeasureRates: the figures of all replicas are added, and the rate of checks comes from two scrapes.
func TestMeasureRates(t *testing.T) {
	t.Parallel()
	var state stack.State
	for _, undecided := range []int{2, 5} {
		var looks atomic.Int64
		ops := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "# HELP mq_checks_total x\nmq_checks_total{answer=\"unknown\",group=\"order-tx\"} %d\n", looks.Add(1)*1000)
			fmt.Fprintf(w, "order_half_messages_undecided %d\nstock_release_repeats_total 1\n", undecided)
		}))
		t.Cleanup(ops.Close)
		state.Components = append(state.Components, stack.Component{Name: "order-srv", Ops: strings.TrimPrefix(ops.URL, "http://")})
	}
	state.Components = append(state.Components, stack.Component{Name: "mysql"})
	got, err := measureRates(t.Context(), state)
	if err != nil || got.Undecided != 7 || got.ReleaseRepeats != 2 || got.ChecksPerSecond < 100 || got.ChecksPerSecond > 2000 {
		t.Errorf("%+v, error %v; want 7, 2 and at most 2,000 checks per second", got, err)
	}
}

// TestStatus_withoutProcesses: under compose the gateway answers, but no process is recorded.
func TestStatus_withoutProcesses(t *testing.T) {
	t.Parallel()
	url, _ := gateway(t, &check.Report{
		Orders:  map[string]int{"PAID": 2},
		InDoubt: []check.InDoubt{{State: "confirming", Orders: 2, Oldest: 3 * time.Second}, {State: "cancelling", Orders: 1, Oldest: time.Second}},
		Branches: []check.Branch{
			{OrderNo: "o2", Side: "inventory", State: "preparing", Age: 31*time.Second + 200*time.Millisecond, Locks: []string{"stock A", "stock B"}},
		},
		Unnotified: check.Notifications{Pending: 3, Failing: 2, Oldest: 90 * time.Second, GivenUp: 4},
		Messages: check.Messages{
			Undecided: 3, OldestUndecided: time.Minute, LateAfter: 22 * time.Second, Unsent: 1, OldestUnsent: 2 * time.Second,
		},
	})
	var out bytes.Buffer
	if err := (&statusCmd{Lang: "en"}).Run(t.Context(), &cli{Dir: t.TempDir(), URL: url}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"orders: PAID 2", "messages: 3 half messages undecided (oldest 1m0s), 1 unsent in the outbox (oldest 2s)",
		"notifications: 3 pending (oldest 1m30s), 2 of them failing, 4 given up",
		"tcc: 2 confirming (oldest 3s), 1 cancelling (oldest 1s)",
		"xa: o2 is prepared in inventory since 31.2s, its log says preparing; it locks stock A, stock B",
		"ALARM: half messages stay undecided for longer than 22s", "the operations ports cannot be reached",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
	dead := httptest.NewServer(nil)
	dead.Close()
	if err := (&statusCmd{Lang: "en"}).Run(t.Context(), &cli{Dir: t.TempDir(), URL: dead.URL}, &out); code(err) != 1 {
		t.Errorf("without a shop: error %v", err)
	}
}

// TestLeftBranches: what a dead order-srv has left prepared is read from the server, with the state in its log.
func TestLeftBranches(t *testing.T) {
	t.Parallel()
	dsn := dbtest.NewDSN(t, schema.Orders())
	orders := regexp.MustCompile("/(test_[a-z0-9]+)").FindStringSubmatch(dsn)[1]
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	no := ulid.Make().String()
	if _, err := db.ExecContext(t.Context(), "INSERT INTO xa_log (gtrid, state, created_at) VALUES (?, 'preparing', UTC_TIMESTAMP(6))", no); err != nil {
		t.Fatal(err)
	}
	prepareBranch(t, db, "'"+no+"','"+orders+"'")
	all, err := leftBranches(t.Context(), dsn, orders)
	if err != nil {
		t.Fatal(err)
	}
	ours := slices.DeleteFunc(all, func(b check.Branch) bool { return b.Side != orders }) // other tests prepare theirs
	if len(ours) != 1 || ours[0].OrderNo != no || ours[0].State != "preparing" || ours[0].Age > time.Minute {
		t.Errorf("left: %+v", ours)
	}
	if left, err := leftBranches(t.Context(), "root@tcp(127.0.0.1:1)/", orders); err != nil || left != nil {
		t.Errorf("without a server: %v, error %v", left, err)
	}
}

func prepareBranch(t *testing.T, db *sql.DB, xid string) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{"XA START ", "XA END ", "XA PREPARE "} {
		if _, err := conn.ExecContext(t.Context(), statement+xid); err != nil {
			t.Fatal(err)
		}
		if statement == "XA START " {
			if _, err := conn.ExecContext(t.Context(), "UPDATE xa_log SET created_at = created_at - INTERVAL 1 SECOND"); err != nil {
				t.Fatal(err)
			}
		}
	}
	// As with a coordinator that died: the server ends the session and keeps the branch.
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
}
