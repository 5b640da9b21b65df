package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// mysqlRoot allows root to connect over TCP: without name resolution 127.0.0.1 does not match MySQL's root@localhost.
const mysqlRoot = `CREATE USER IF NOT EXISTS 'root'@'127.0.0.1' IDENTIFIED BY '';
GRANT ALL PRIVILEGES ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;
`

// initialize creates the system tables under dir/data unless they exist. It creates them in a temporary folder and
// renames it when they are complete, so that an interrupted initialization leaves no half data folder.
func (b mysqlBinary) initialize(ctx context.Context, dir, remove string) error {
	data, fresh := filepath.Join(dir, "data"), filepath.Join(dir, "data.new")
	if _, err := os.Stat(data); err == nil {
		return nil
	}
	script := filepath.Join(dir, "init.sql")
	initialize := b.initializeMySQL
	if b.mariadb {
		initialize = b.bootstrapMariaDB
	}
	var failed error
	for range initTries {
		if err := os.RemoveAll(fresh); err != nil {
			return err
		}
		err := initialize(ctx, fresh, script, remove)
		if err == nil {
			return errors.Join(os.Remove(script), os.Rename(fresh, data))
		}
		failed = errors.Join(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("initialize: %w", failed)
}

// initTries is more than one because MariaDB 10.11 sometimes crashes (SIGSEGV) in its bootstrap on a busy machine.
// Each attempt starts from an empty folder.
const initTries = 3

// bootstrapMariaDB does what the script mariadb-install-db does. It skips the help tables and the sys schema, which
// take most of the time, and does not need the client package.
func (b mysqlBinary) bootstrapMariaDB(ctx context.Context, data, script, remove string) error {
	share, err := b.share()
	if err != nil {
		return err
	}
	text := []byte("CREATE DATABASE IF NOT EXISTS mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n") // one per line
	for _, name := range []string{"mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql"} {
		part, err := os.ReadFile(filepath.Join(share, name))
		if err != nil {
			return err
		}
		text = append(append(text, part...), '\n')
	}
	if err := errors.Join(os.WriteFile(script, text, 0o600), os.Mkdir(data, 0o700)); err != nil {
		return err
	}
	return b.runInit(ctx, Command{Input: script, Log: script + ".log", Remove: remove}, b.args(data, "--bootstrap", "--log-warnings=0", "--enforce-storage-engine=",
		"--max-allowed-packet=8M", "--innodb-flush-log-at-trx-commit=0"))
}

// initializeMySQL runs MySQL's own initialization.
func (b mysqlBinary) initializeMySQL(ctx context.Context, data, script, remove string) error {
	if err := os.WriteFile(script, []byte(mysqlRoot), 0o600); err != nil {
		return err
	}
	return b.runInit(ctx, Command{Log: script + ".log", Remove: remove}, b.args(data, "--initialize-insecure", "--init-file="+script))
}

// runInit ties the initialization to this process: without this process it has no use.
func (b mysqlBinary) runInit(ctx context.Context, c Command, args []string) error {
	c.Name, c.Args, c.Env, c.Tie = b.name(), args, b.env, true
	p, err := Start(c)
	if err != nil {
		return err
	}
	if err := p.Wait(ctx); err != nil {
		return errors.Join(err, p.Kill())
	}
	return nil
}

// share finds the folder with MariaDB's system table scripts, next to the program's bin or sbin folder.
func (b mysqlBinary) share() (string, error) {
	real, err := filepath.EvalSymlinks(b.path)
	if err != nil {
		return "", err
	}
	prefix := filepath.Dir(filepath.Dir(real))
	var looked []string
	for _, dir := range []string{
		filepath.Join(prefix, "share", "mysql"), filepath.Join(prefix, "share", "mariadb"), filepath.Join(prefix, "share"),
		"/usr/share/mysql", "/usr/share/mariadb",
	} {
		if _, err := os.Stat(filepath.Join(dir, "mysql_system_tables.sql")); err == nil {
			return dir, nil
		}
		looked = append(looked, dir)
	}
	return "", fmt.Errorf("no mysql_system_tables.sql in %s", strings.Join(looked, ", "))
}
