package explore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
	"time"

	"gorm.io/gorm/logger"
)

// maxShown is how many rows a step's result shows.
const maxShown = 5

// rows are rows that were read from the server.
type rows struct {
	columns []string
	types   []columnType
	values  [][]driver.Value
	next    int
}

type columnType struct {
	name               string
	scan               reflect.Type
	nullable, known    bool
	precision, decimal int64
	exact              bool
}

// readRows reads the rows of one result and closes it.
func readRows(r driver.Rows) (*rows, error) {
	out := &rows{columns: append([]string(nil), r.Columns()...)}
	for i := range out.columns {
		out.types = append(out.types, typeOf(r, i))
	}
	for {
		row := make([]driver.Value, len(out.columns))
		err := r.Next(row)
		if errors.Is(err, io.EOF) {
			return out, r.Close()
		}
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		for i, v := range row {
			if b, ok := v.([]byte); ok {
				row[i] = append([]byte{}, b...) // the driver uses its buffer again
			}
		}
		out.values = append(out.values, row)
	}
}

func typeOf(r driver.Rows, i int) (t columnType) {
	t.scan = reflect.TypeFor[any]()
	if r, ok := r.(driver.RowsColumnTypeDatabaseTypeName); ok {
		t.name = r.ColumnTypeDatabaseTypeName(i)
	}
	if r, ok := r.(driver.RowsColumnTypeScanType); ok {
		t.scan = r.ColumnTypeScanType(i)
	}
	if r, ok := r.(driver.RowsColumnTypeNullable); ok {
		t.nullable, t.known = r.ColumnTypeNullable(i)
	}
	if r, ok := r.(driver.RowsColumnTypePrecisionScale); ok {
		t.precision, t.decimal, t.exact = r.ColumnTypePrecisionScale(i)
	}
	return t
}

// Columns implements driver.Rows.
func (r *rows) Columns() []string { return r.columns }

// Close implements driver.Rows.
func (r *rows) Close() error { return nil }

// Next implements driver.Rows.
func (r *rows) Next(dest []driver.Value) error {
	if r.next == len(r.values) {
		return io.EOF
	}
	copy(dest, r.values[r.next])
	r.next++
	return nil
}

// ColumnTypeDatabaseTypeName implements driver.RowsColumnTypeDatabaseTypeName.
func (r *rows) ColumnTypeDatabaseTypeName(i int) string { return r.types[i].name }

// ColumnTypeScanType implements driver.RowsColumnTypeScanType.
func (r *rows) ColumnTypeScanType(i int) reflect.Type { return r.types[i].scan }

// ColumnTypeNullable implements driver.RowsColumnTypeNullable.
func (r *rows) ColumnTypeNullable(i int) (nullable, ok bool) {
	return r.types[i].nullable, r.types[i].known
}

// ColumnTypePrecisionScale implements driver.RowsColumnTypePrecisionScale.
func (r *rows) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	t := r.types[i]
	return t.precision, t.decimal, t.exact
}

// named returns the rows by the names of their columns.
func (r *rows) named() []map[string]string {
	var all []map[string]string
	for _, values := range r.values {
		row := map[string]string{}
		for i, v := range values {
			row[r.columns[i]] = text(v)
		}
		all = append(all, row)
	}
	return all
}

// noRow is the result of a statement that read nothing.
const noRow = "no row"

// text is how a step shows what was read.
func (r *rows) text() string {
	if len(r.values) == 0 {
		return noRow
	}
	var shown []string
	for _, values := range r.values[:min(len(r.values), maxShown)] {
		var row []string
		for i, v := range values {
			row = append(row, r.columns[i]+" = "+text(v))
		}
		shown = append(shown, strings.Join(row, ", "))
	}
	if more := len(r.values) - maxShown; more > 0 {
		shown = append(shown, fmt.Sprintf("... %d more", more))
	}
	return strings.Join(shown, "; ")
}

// text returns a value as the server shows it.
func text(v driver.Value) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case []byte:
		return string(v)
	case time.Time:
		return v.Format("2006-01-02 15:04:05.999999")
	}
	return fmt.Sprint(v)
}

// stmt is a prepared statement.
type stmt struct {
	driver.Stmt
	c     *conn
	query string
}

var (
	_ driver.StmtExecContext  = (*stmt)(nil)
	_ driver.StmtQueryContext = (*stmt)(nil)
)

var errNoContext = errors.New("the driver's statement takes no context")

// ExecContext implements driver.StmtExecContext.
func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (result driver.Result, err error) {
	inner, ok := s.Stmt.(driver.StmtExecContext)
	if !ok {
		return nil, errNoContext
	}
	err = s.c.act(ctx, kindOf(s.query), explain(s.query, args), func(ctx context.Context) (o outcome) {
		result, o.err = inner.ExecContext(ctx, args)
		return executed(s.query, result, o.err)
	})
	return result, err
}

// QueryContext implements driver.StmtQueryContext.
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	inner, ok := s.Stmt.(driver.StmtQueryContext)
	if !ok {
		return nil, errNoContext
	}
	var data *rows
	err := s.c.act(ctx, kindOf(s.query), explain(s.query, args), func(ctx context.Context) outcome {
		found, err := inner.QueryContext(ctx, args)
		if err == nil {
			data, err = readRows(found)
		}
		return queried(data, err)
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// explain returns a statement in one line with its arguments.
func explain(query string, args []driver.NamedValue) string {
	values := make([]any, len(args))
	for i, a := range args {
		values[i] = a.Value
	}
	full := logger.ExplainSQL(query, nil, "'", values...)
	return strings.Join(strings.Fields(strings.ReplaceAll(full, "`", "")), " ")
}

// kindOf returns what a statement does.
func kindOf(query string) Kind {
	locks := regexp.MustCompile(`(?i)\bFOR\s+(UPDATE|SHARE)\b|\bLOCK\s+IN\s+SHARE\s+MODE\b`)
	words := strings.Fields(strings.ToUpper(query))
	if len(words) == 0 {
		return Statement
	}
	switch strings.TrimRight(words[0], ";") {
	case "SELECT", "WITH":
		if locks.MatchString(query) {
			return LockingRead
		}
		return Read
	case "INSERT", "UPDATE", "DELETE", "REPLACE":
		return Write
	case "BEGIN", "START":
		return Begin
	case "COMMIT":
		return Commit
	case "ROLLBACK":
		return Rollback
	}
	return Statement
}
