package dbtest

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// schema is what migrations have made: statements that make the same in an empty database, in a fifth of the time. The
// first test of a new migration writes it to the user's cache, for the tests of all packages.
type schema struct {
	Statements []statement
}

type statement struct {
	SQL  string
	Args [][]byte // as the server returned them; nil: NULL
}

// schemaFile names the file for the migrations of fsys on the server of db. Another text, another file.
func schemaFile(ctx context.Context, db *sql.DB, fsys fs.FS) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	var version string
	if err := db.QueryRowContext(ctx, "SELECT CONCAT(VERSION(), ' ', @@GLOBAL.sql_mode, ' ', @@GLOBAL.collation_server)").Scan(&version); err != nil {
		return "", err
	}
	hash := sha256.New()
	fmt.Fprintln(hash, version)
	err = fs.WalkDir(fsys, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(fsys, path)
		fmt.Fprintf(hash, "%s %d\n%s", path, len(text), text)
		return err
	})
	return filepath.Join(cache, "holdfast", "schemas", hex.EncodeToString(hash.Sum(nil)[:16])+".json"), err
}

// apply makes the schema in the database of db, which is empty.
func (s schema) apply(ctx context.Context, db *sql.DB) (err error) {
	conn, err := db.Conn(ctx) // the first statement is for this session
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	for _, st := range s.Statements {
		args := make([]any, len(st.Args))
		for i, arg := range st.Args {
			if arg != nil {
				args[i] = arg
			}
		}
		if _, err := conn.ExecContext(ctx, st.SQL, args...); err != nil {
			return fmt.Errorf("%.100s: %w", st.SQL, err)
		}
	}
	return nil
}

// capture reads the schema and the rows of the database of db.
func capture(ctx context.Context, db *sql.DB) (s schema, err error) {
	// A table may come before the one that it refers to.
	s.Statements = []statement{{SQL: "SET SESSION foreign_key_checks = 0"}}
	tables, err := query(ctx, db, "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY table_type, table_name")
	if err != nil {
		return schema{}, err
	}
	for _, t := range tables {
		name, kind := string(t[0]), "TABLE"
		if string(t[1]) == "VIEW" { // they are the last ones
			kind = "VIEW"
		}
		shown, err := query(ctx, db, fmt.Sprintf("SHOW CREATE %s `%s`", kind, name))
		if err != nil {
			return schema{}, err
		}
		s.Statements = append(s.Statements, statement{SQL: string(shown[0][1])})
		if kind == "VIEW" {
			continue
		}
		if err := s.captureRows(ctx, db, name); err != nil {
			return schema{}, err
		}
	}
	return s, nil
}

// captureRows adds a statement for each row of a table.
func (s *schema) captureRows(ctx context.Context, db *sql.DB, table string) error {
	found, err := query(ctx, db, "SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = '"+table+
		"' AND extra NOT LIKE '%VIRTUAL GENERATED%' AND extra NOT LIKE '%STORED GENERATED%' ORDER BY ordinal_position")
	if err != nil {
		return err
	}
	columns := make([]string, len(found))
	for i, row := range found {
		columns[i] = "`" + string(row[0]) + "`"
	}
	list := strings.Join(columns, ", ")
	rows, err := query(ctx, db, fmt.Sprintf("SELECT %s FROM `%s`", list, table))
	if err != nil {
		return err
	}
	for _, row := range rows {
		places := strings.TrimSuffix(strings.Repeat("?, ", len(row)), ", ")
		s.Statements = append(s.Statements, statement{SQL: fmt.Sprintf("INSERT INTO `%s` (%s) VALUES (%s)", table, list, places), Args: row})
	}
	return nil
}

// query returns the rows as the server sends them.
func query(ctx context.Context, db *sql.DB, text string) (all [][][]byte, err error) {
	rows, err := db.QueryContext(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("%.100s: %w", text, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		row, into := make([]sql.RawBytes, len(columns)), make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		kept := make([][]byte, len(row))
		for i, value := range row {
			if value != nil {
				kept[i] = append([]byte{}, value...)
			}
		}
		all = append(all, kept)
	}
	return all, rows.Err()
}
