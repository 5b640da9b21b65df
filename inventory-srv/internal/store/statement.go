package store

import (
	"strconv"

	"gorm.io/gorm"
)

// statement builds SQL that carries a thousand orders. A parameter for each value would be the rule, and costs gorm and
// the driver more time than the server needs for the row. Here a text that cannot mean anything else in SQL, as SKUs and
// hashes cannot, stands in the statement, and every other one becomes a parameter. So nothing is ever escaped here, and an
// order number with a quote in it is data like any other.
type statement struct {
	sql  []byte
	args []any
}

// newStatement begins a statement. rows and rowSize say about how long it will be, so that its text is allocated once.
func newStatement(rows, rowSize int, begin string) *statement {
	return (&statement{sql: make([]byte, 0, len(begin)+rows*rowSize)}).add(begin)
}

// How many bytes a row of a statement takes: one key, a line, a header.
const (
	keySize    = 32
	lineSize   = 64
	headerSize = 144
)

// add appends SQL of ours.
func (s *statement) add(sql string) *statement {
	s.sql = append(s.sql, sql...)
	return s
}

// text appends a value.
func (s *statement) text(value string) *statement {
	if !plain(value) {
		s.args = append(s.args, value)
		return s.add("?")
	}
	s.sql = append(s.sql, '\'')
	s.sql = append(s.sql, value...)
	s.sql = append(s.sql, '\'')
	return s
}

// texts appends values for an IN list.
func (s *statement) texts(values []string) *statement {
	for i, v := range values {
		s.comma(i).text(v)
	}
	return s
}

// number appends a value.
func (s *statement) number(n int64) *statement {
	s.sql = strconv.AppendInt(s.sql, n, 10)
	return s
}

// comma appends one before every item of a list but the first.
func (s *statement) comma(item int) *statement {
	if item > 0 {
		s.sql = append(s.sql, ',')
	}
	return s
}

// plain reports whether s is made of nothing but letters, digits, dots, hyphens and underscores.
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

// exec runs the statement in the transaction and returns how many rows it changed.
func (s *statement) exec(tx *gorm.DB) (int64, error) {
	db := s.on(tx)
	res := db.Callback().Raw().Execute(db)
	return res.RowsAffected, res.Error
}

// query runs the statement in the transaction and reads the rows into found.
func (s *statement) query(tx *gorm.DB, found any) error {
	return s.on(tx).Scan(found).Error
}

// on gives gorm the text as it is. Through Exec and Raw gorm would copy it byte by byte in search of parameters, for as long
// as the server takes to write the rows.
func (s *statement) on(tx *gorm.DB) *gorm.DB {
	db := tx.Session(&gorm.Session{Initialized: true})
	db.Statement.SQL.Write(s.sql)
	db.Statement.Vars = s.args
	return db
}
