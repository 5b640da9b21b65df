// Package statement builds SQL that names hundreds of rows.
package statement

import (
	"slices"
	"strconv"

	"gorm.io/gorm"
)

// Statement builds SQL that carries a thousand orders. Parameters would cost gorm and the driver more time than the
// server needs for the rows. Text adds a value of letters, digits, dots, hyphens and underscores to the SQL, and every
// other value as a parameter; nothing needs escaping.
type Statement struct {
	sql  []byte
	args []any
}

// New begins a statement. rows and rowSize estimate its length, so that its text is allocated once.
func New(rows, rowSize int, begin string) *Statement {
	return (&Statement{sql: make([]byte, 0, len(begin)+rows*rowSize)}).Add(begin)
}

// The number of bytes that a row of a statement takes: one key, a line, a header.
const (
	KeySize    = 32
	LineSize   = 64
	HeaderSize = 144

	CompactSize = 96 // a reservation with its line
)

const (
	// KeyChunk is how many keys a statement names: fewer than the 1,000 from which MariaDB turns an IN list into a table
	// and may scan the other table.
	KeyChunk = 500
	// CaseChunk is how many SKUs one UPDATE moves: for each of its rows the server tries half of the cases.
	CaseChunk = 100
)

// Add appends SQL.
func (s *Statement) Add(sql string) *Statement {
	s.sql = append(s.sql, sql...)
	return s
}

// Text appends a value.
func (s *Statement) Text(value string) *Statement {
	if !plain(value) {
		s.args = append(s.args, value)
		return s.Add("?")
	}
	s.sql = append(s.sql, '\'')
	s.sql = append(s.sql, value...)
	s.sql = append(s.sql, '\'')
	return s
}

// Texts appends values for an IN list.
func (s *Statement) Texts(values []string) *Statement {
	for i, v := range values {
		s.Comma(i).Text(v)
	}
	return s
}

// Number appends a value.
func (s *Statement) Number(n int64) *Statement {
	s.sql = strconv.AppendInt(s.sql, n, 10)
	return s
}

// Comma appends a comma before every item of a list but the first.
func (s *Statement) Comma(item int) *Statement {
	if item > 0 {
		s.sql = append(s.sql, ',')
	}
	return s
}

// plain reports whether s has only letters, digits, dots, hyphens and underscores.
func plain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// Exec runs the statement in the transaction and returns how many rows it changed.
func (s *Statement) Exec(tx *gorm.DB) (int64, error) {
	db := s.on(tx)
	res := db.Callback().Raw().Execute(db)
	return res.RowsAffected, res.Error
}

// Query runs the statement in the transaction and reads the rows into found.
func (s *Statement) Query(tx *gorm.DB, found any) error {
	return s.on(tx).Scan(found).Error
}

// on gives gorm the text unchanged. Exec and Raw of gorm would search it for parameters byte by byte, which takes as
// long as the server needs for the rows.
func (s *Statement) on(tx *gorm.DB) *gorm.DB {
	db := tx.Session(&gorm.Session{Initialized: true})
	db.Statement.SQL.Write(s.sql)
	db.Statement.Vars = s.args
	return db
}

// UnitsOf appends the expression for a row's own units.
func (s *Statement) UnitsOf(skus []string, units map[string]int64) {
	if len(skus) == 1 {
		s.Number(units[skus[0]])
		return
	}
	s.Add("CASE sku")
	for _, sku := range skus {
		s.Add(" WHEN ").Text(sku).Add(" THEN ").Number(units[sku])
	}
	s.Add(" END")
}

// SortUnique returns the keys in order, without duplicates.
func SortUnique(all []string) []string { return slices.Compact(slices.Sorted(slices.Values(all))) }
