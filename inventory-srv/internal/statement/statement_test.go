package statement_test

import (
	"context"
	"database/sql"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorm.io/driver/mysql"
	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/statement"
)

// recorder is a connection that keeps what it is sent, and has changed rows or fails.
type recorder struct {
	query string
	args  []any
	rows  int64
	err   error
}

var _ gorm.ConnPool = (*recorder)(nil)

// PrepareContext implements gorm.ConnPool.
func (r *recorder) PrepareContext(context.Context, string) (*sql.Stmt, error) {
	return nil, errors.New("no statement is prepared")
}

// ExecContext implements gorm.ConnPool.
func (r *recorder) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	r.query, r.args = query, args
	return changed(r.rows), r.err
}

// QueryContext implements gorm.ConnPool. It has no rows.
func (r *recorder) QueryContext(_ context.Context, query string, args ...any) (*sql.Rows, error) {
	r.query, r.args = query, args
	return nil, errors.New("no rows")
}

// QueryRowContext implements gorm.ConnPool.
func (r *recorder) QueryRowContext(context.Context, string, ...any) *sql.Row { return nil }

type changed int64

// LastInsertId implements sql.Result.
func (changed) LastInsertId() (int64, error) { return 0, nil }

// RowsAffected implements sql.Result.
func (c changed) RowsAffected() (int64, error) { return int64(c), nil }

// open returns gorm on the recorder.
func open(tb testing.TB, r *recorder) *gorm.DB {
	tb.Helper()
	db, err := gorm.Open(mysql.New(mysql.Config{Conn: r, SkipInitializeWithVersion: true}), &gorm.Config{DisableAutomaticPing: true, SkipDefaultTransaction: true})
	if err != nil {
		tb.Fatal(err)
	}
	return db
}

// sent returns what the statement sends.
func sent(tb testing.TB, s *statement.Statement) (query string, args []any) {
	tb.Helper()
	var r recorder
	if _, err := s.Exec(open(tb, &r)); err != nil {
		tb.Fatal(err)
	}
	return r.query, r.args
}

func TestStatement_Text(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		value, query string
		args         []any
	}{
		{"MUG-1.b_2", "'MUG-1.b_2'", nil},
		{"", "''", nil},
		{"it's", "?", []any{"it's"}},
		{`\`, "?", []any{`\`}},
		{"a b", "?", []any{"a b"}},
		{"?", "?", []any{"?"}},
		{"Mütze", "?", []any{"Mütze"}},
		{"a\x00", "?", []any{"a\x00"}},
		{"'; DROP TABLE stock; --", "?", []any{"'; DROP TABLE stock; --"}},
	} {
		query, args := sent(t, statement.New(1, statement.KeySize, "").Text(c.value))
		if query != c.query || !cmp.Equal(args, c.args) {
			t.Errorf("%q is sent as %q with %q, want %q with %q", c.value, query, args, c.query, c.args)
		}
	}
}

// TestStatement_order has parameters in the order of their places, between values that need none.
func TestStatement_order(t *testing.T) {
	t.Parallel()
	s := statement.New(2, statement.LineSize, "INSERT INTO t VALUES ")
	for i, title := range []string{"a mug", "CAP", "it's"} {
		s.Comma(i).Add("(").Text(title).Add(",").Number(int64(i - 1)).Add(")")
	}
	query, args := sent(t, s.Add(" -- ").Texts([]string{"A", "b c", "D"}))
	if want := "INSERT INTO t VALUES (?,-1),('CAP',0),(?,1) -- 'A',?,'D'"; query != want {
		t.Errorf("sent %q, want %q", query, want)
	}
	if want := []any{"a mug", "it's", "b c"}; !cmp.Equal(args, want) {
		t.Errorf("with %q, want %q", args, want)
	}
}

func TestStatement_UnitsOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		skus []string
		want string
	}{
		{[]string{"A"}, "3"},
		{[]string{"A", "B"}, "CASE sku WHEN 'A' THEN 3 WHEN 'B' THEN 10000 END"},
	} {
		s := statement.New(2, statement.KeySize, "")
		s.UnitsOf(c.skus, map[string]int64{"A": 3, "B": 10_000, "C": 7})
		if query, _ := sent(t, s); query != c.want {
			t.Errorf("the units of %v are %q, want %q", c.skus, query, c.want)
		}
	}
}

// TestStatement_Exec has the number of changed rows and the error of the server, and leaves the session as it was: the
// next statement on it is another one.
func TestStatement_Exec(t *testing.T) {
	t.Parallel()
	r := recorder{rows: 7}
	db := open(t, &r)
	for _, query := range []string{"UPDATE a", "UPDATE b"} {
		n, err := statement.New(1, 0, query).Exec(db)
		if n != 7 || err != nil || r.query != query {
			t.Errorf("%s: sent %q, %d rows, %v", query, r.query, n, err)
		}
	}
	r.err = errors.New("the server has gone")
	if _, err := statement.New(1, 0, "UPDATE c").Exec(db); !errors.Is(err, r.err) {
		t.Errorf("got %v, want the server's error", err)
	}
	r.err = nil
	if _, err := statement.New(1, 0, "UPDATE d").Exec(db); err != nil {
		t.Errorf("after an error: %v", err)
	}
	var found []string
	if err := statement.New(1, 0, "SELECT a WHERE b = ").Text("c d").Query(db, &found); err == nil || r.query != "SELECT a WHERE b = ?" || !cmp.Equal(r.args, []any{"c d"}) {
		t.Errorf("a query: sent %q with %q, %v; want its error", r.query, r.args, err)
	}
}

func TestSortUnique(t *testing.T) {
	t.Parallel()
	all := []string{"b", "a", "c", "a", "b"}
	if got := statement.SortUnique(all); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("got %v", got)
	}
	if !slices.Equal(all, []string{"b", "a", "c", "a", "b"}) {
		t.Errorf("the caller's keys were changed: %v", all)
	}
	if got := statement.SortUnique(nil); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

// FuzzStatement_Text looks for a value that changes the statement around it.
func FuzzStatement_Text(f *testing.F) {
	for _, seed := range []string{"", "A", "'", `\'`, "a--b", "/*", "?", "\xff", "A\n"} {
		f.Add(seed)
	}
	literal := regexp.MustCompile(`^<'[A-Za-z0-9._-]*'>$`)
	f.Fuzz(func(t *testing.T, value string) {
		query, args := sent(t, statement.New(1, statement.KeySize, "<").Text(value).Add(">"))
		switch {
		case query == "<?>" && cmp.Equal(args, []any{value}):
		case literal.MatchString(query) && strings.Trim(query, "<>'") == value && len(args) == 0:
		default:
			t.Errorf("%q is sent as %q with %q", value, query, args)
		}
	})
}
