package strategy_test

import (
	"bufio"
	"cmp"
	"crypto/sha1"
	"database/sql"
	"encoding/hex"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/inventory-srv/internal/replicatest"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/database"
	"holdfast/pkg/lock"
	schema "holdfast/sql"
)

var updateTranscripts = flag.Bool("update", false, "rewrite the transcripts in the strategies' files")

// TestTranscripts compares the transcript in each strategy's file with what the servers log while the strategy reserves
// an order for one CAP and two MUGs. The strategy has reserved such an order before, so what it prepares once is not in
// the transcript. Rewrite them with
//
//	go test ./inventory-srv/internal/strategy -run TestTranscripts -update
func TestTranscripts(t *testing.T) {
	t.Parallel()
	stacktest.SkipIfShort(t, "MySQL and Redis")
	r := newRecorder(t)
	for _, s := range strategy.List() {
		t.Run(s.Name, func(t *testing.T) { // not parallel: a server has one log
			path, want := transcriptOf(t, s.Name)
			got := r.record(t, s)
			if *updateTranscripts {
				text := read(t, path)
				if err := os.WriteFile(path, []byte(strings.Replace(text, want, got, 1)), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-file +servers; -update rewrites it):\n%s", path, diff)
			}
		})
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// eachFile calls f with the path of each file under dir that has the suffix.
func eachFile(t *testing.T, dir, suffix string, f func(path string)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, suffix) {
			f(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// transcriptOf finds the file that has the strategy's transcript, and the transcript, with its heading.
func transcriptOf(t *testing.T, name string) (path, transcript string) {
	t.Helper()
	block := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(heading(name)) + `(?://\t.*\n)*`)
	eachFile(t, "..", ".go", func(file string) {
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		if found := block.FindString(read(t, file)); found != "" {
			path, transcript = file, found
		}
	})
	if path == "" {
		t.Fatalf("no file has the lines\n%s", heading(name))
	}
	return path, transcript
}

func heading(name string) string {
	return "// Transcript of " + name + ", one CAP and two MUGs, as the servers log it (TestTranscripts):\n//\n"
}

// recorder is a MySQL and a Redis of its own, whose logs it reads.
type recorder struct {
	mysql   *stack.MySQL
	admin   *sql.DB
	redis   string            // its address
	scripts map[string]string // names by hash
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	server, err := stack.StartMySQL(t.Context(), stack.Options{Tie: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill() })
	admin, err := sql.Open("mysql", server.AdminDSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close() })
	r := &recorder{mysql: server, admin: admin, redis: stacktest.OwnRedis(t).Addr, scripts: map[string]string{}}
	r.exec(t, "SET GLOBAL log_output = 'TABLE'", "SET GLOBAL general_log = ON")
	for _, dir := range []string{"../../../pkg/lock", ".."} {
		eachFile(t, dir, ".lua", func(path string) {
			common, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "common.lua")) // before each script of redis-lua
			for _, text := range []string{read(t, path), string(common) + read(t, path)} {
				sum := sha1.Sum([]byte(text))
				r.scripts[hex.EncodeToString(sum[:])] = filepath.Base(path)
			}
		})
	}
	return r
}

func (r *recorder) exec(t *testing.T, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := r.admin.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// logged is a statement or a command as a server logged it.
type logged struct {
	at   float64 // Unix time
	text string
}

// record returns the transcript of a reserve.
func (r *recorder) record(t *testing.T, s strategy.Strategy) string {
	t.Helper()
	w := r.world(t, s)
	set := w.One.Set(t)
	reserve := func(orderNo string) {
		if _, err := set.Reserve(replicatest.Soon(t), replicatest.Order(orderNo, s.Name, replicatest.Line("CAP", 1), replicatest.Line("MUG", 2))); err != nil {
			t.Fatal(err)
		}
		w.Settle(t)
		if s.Layout == stock.LayoutRedis { // the follower's last command for an order
			key := w.Counters + "1:order:" + orderNo
			replicatest.Eventually(t, "the order expires", func() bool { return w.Redis.TTL(replicatest.Soon(t), key).Val() > 0 })
		}
	}
	reserve("ORDER-1")
	addr := r.redis
	if s.Name == "redlock" {
		addr = stacktest.RedlockNodes(t)[0]
	}
	commands := r.monitor(t, addr, w.Prefix)
	r.exec(t, "TRUNCATE mysql.general_log")
	reserve("ORDER-2")
	all := append(r.statements(t, s.Layout == stock.LayoutRedis), commands()...)
	slices.SortStableFunc(all, func(a, b logged) int { return cmp.Compare(a.at, b.at) })
	transcript := heading(s.Name)
	for _, l := range all {
		transcript += comment(tidy(w, l.text))
	}
	return transcript
}

// world is an empty inventory on the recorder's servers with two products.
func (r *recorder) world(t *testing.T, s strategy.Strategy) *replicatest.World {
	t.Helper()
	name := fmt.Sprintf("transcript_%d", rand.Uint32())
	r.exec(t, "CREATE DATABASE "+name)
	dsn := r.mysql.DSN(name)
	if err := database.Migrate(t.Context(), dbtest.Open(t, dsn, database.Options{MaxOpen: 2}), schema.Inventory(), replicatest.Quiet()); err != nil {
		t.Fatal(err)
	}
	w := replicatest.NewWorldAt(t, dsn, func() redis.UniversalClient { return lock.NewClient([]string{r.redis}) })
	w.Lab = !s.Safe
	if s.Layout == stock.LayoutRedis {
		w.Open(t)
	}
	w.Layout = s.Layout
	w.Has(t, "CAP", 1000)
	w.Has(t, "MUG", 1000)
	return w
}

// about matches what belongs to the recorded order.
var about = regexp.MustCompile(`\b(ORDER-2|CAP|MUG|RELEASE_ALL_LOCKS)\b`)

// statements returns what MySQL has logged of transactions, or of statements outside of one, that are about the order.
// With polls a replica looks every second whether MySQL has the orders that Redis answered, in a read outside of a
// transaction, which belongs to no order and is left out.
func (r *recorder) statements(t *testing.T, polls bool) []logged {
	t.Helper()
	rows, err := r.admin.QueryContext(t.Context(),
		"SELECT UNIX_TIMESTAMP(event_time), thread_id, CONVERT(argument USING utf8mb4) FROM mysql.general_log WHERE command_type = 'Query'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var kept []logged
	open := map[int64][]logged{} // the transaction of a thread
	for rows.Next() {
		var l logged
		var thread int64
		if err := rows.Scan(&l.at, &thread, &l.text); err != nil {
			t.Fatal(err)
		}
		begun := len(open[thread]) > 0
		unit := append(open[thread], l)
		switch {
		case l.text == "START TRANSACTION", strings.HasPrefix(l.text, "SET TRANSACTION"), begun && l.text != "COMMIT" && l.text != "ROLLBACK":
			open[thread] = unit
			continue
		case polls && !begun && strings.HasPrefix(l.text, "SELECT"):
		case slices.ContainsFunc(unit, func(l logged) bool { return about.MatchString(l.text) }):
			kept = append(kept, unit...)
		}
		delete(open, thread)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return kept
}

// monitor has Redis report its commands. The function that it returns ends that, and returns those about the order.
func (r *recorder) monitor(t *testing.T, addr, prefix string) func() []logged {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	lines := bufio.NewScanner(conn)
	if _, err := fmt.Fprint(conn, "MONITOR\r\n"); err != nil || !lines.Scan() || lines.Text() != "+OK" {
		t.Fatalf("MONITOR: %v, %v, %q", err, lines.Err(), lines.Text())
	}
	return func() (commands []logged) {
		client := redis.NewClient(&redis.Options{Addr: addr})
		defer client.Close()
		end := "end of " + prefix
		if err := client.Echo(replicatest.Soon(t), end).Err(); err != nil {
			t.Fatal(err)
		}
		ours := false
		for lines.Scan() && !strings.Contains(lines.Text(), end) {
			found := reported.FindStringSubmatch(lines.Text())
			if found == nil {
				t.Fatalf("MONITOR reports %q", lines.Text())
			}
			at, _ := strconv.ParseFloat(found[1], 64)
			indent := "  " // the command of a script
			if found[2] != "lua" {
				indent, ours = "", strings.Contains(found[3], prefix) && about.MatchString(found[3]) && !strings.HasPrefix(found[3], `"ttl"`)
			}
			if ours {
				commands = append(commands, logged{at, "Redis: " + indent + r.words(found[3])})
			}
		}
		return commands
	}
}

var (
	reported = regexp.MustCompile(`^\+(\S+) \[\d+ (\S+?)(?::\d+)?\] (.*)$`)
	word     = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)
)

// words takes the quotes off a command's words and calls scripts by their names.
func (r *recorder) words(quoted string) string {
	var words []string
	for _, found := range word.FindAllStringSubmatch(quoted, -1) {
		words = append(words, cmp.Or(r.scripts[found[1]], found[1], `""`))
	}
	words[0] = strings.ToUpper(words[0])
	return strings.Join(words, " ")
}

// tidy puts names in the place of what has another value in each run, or is too long to be read.
func tidy(w *replicatest.World, text string) string {
	text = strings.ReplaceAll(text, w.Counters, "{stock}:")
	text = strings.ReplaceAll(text, w.Prefix, "lock:")
	for _, r := range [][2]string{
		{`\b[0-9a-f]{64}\b`, "<hash>"},
		{`\b[A-Z2-7]{26}\b`, "<owner>"},
		{`\b\d{13}-\d+\b`, "<id>"},
		{`(bucket = |'ORDER-2',)\d+( AND|,\d+\))`, "$1<bucket>$2"},
		{`(GET_LOCK\(.*, )\d+\)`, "$1<seconds>)"},
		{`\s*\n\s*`, " "},
	} {
		text = regexp.MustCompile(r[0]).ReplaceAllString(text, r[1])
	}
	return text
}

// comment makes a line of a transcript, or several: a long statement has a line for each clause.
func comment(text string) string {
	const width = 112
	out, line, depth := "", "", 0
	for i, word := range strings.Split(text, " ") {
		clause := slices.Contains([]string{"SET", "FROM", "WHERE", "VALUES", "ON"}, word) && depth == 0 && len(text) > width
		switch {
		case i == 0:
		case clause:
			out, line = out+"//\t"+line+"\n", "    "
		case len(line)+len(word) >= width:
			out, line = out+"//\t"+line+"\n", "      "
		default:
			line += " "
		}
		line += word
		depth += strings.Count(word, "(") - strings.Count(word, ")")
	}
	return out + "//\t" + line + "\n"
}
