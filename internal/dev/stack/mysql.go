package stack

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// MySQL is a private MySQL or MariaDB server on loopback, with a root user without a password.
type MySQL struct {
	Server
}

// DSN returns the DSN of a database on this server, as root.
func (m *MySQL) DSN(database string) string { return m.AdminDSN() + database }

// AdminDSN returns the DSN of the server as root, without a database.
func (m *MySQL) AdminDSN() string { return "root@tcp(" + m.Addr + ")/" }

// mysqlBinary is an installed MariaDB or MySQL server.
type mysqlBinary struct {
	path    string
	mariadb bool
	root    string   // folder of the unpacked package; empty if the server is installed
	env     []string // for every start
}

// StartMySQL starts MariaDB or MySQL, whichever is installed, and returns when it answers. The server is durable (each
// commit is on disk before it is acknowledged) and uses little memory. The error names what is missing or the port in
// use, or contains the end of the log. No process is left running after an error.
func StartMySQL(ctx context.Context, o Options) (*MySQL, error) {
	bin, err := findMySQL(ctx, o) // before the start timeout: a package may have to be fetched
	if err != nil {
		return nil, err
	}
	ctx, cancel := withStartTimeout(ctx)
	defer cancel()
	dir, remove, err := o.folder("mysql")
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", bin.name(), err)
	}
	m := &MySQL{Server{Name: bin.name(), Dir: dir, LogFile: filepath.Join(dir, "mysql.log"), temporary: o.Dir == ""}}
	err = bin.initialize(ctx, dir, remove)
	if err == nil {
		err = onFreePort(o.Port, func(port int) error { return m.start(ctx, bin, o, port, remove) })
	}
	if err != nil {
		if m.temporary {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		return nil, fmt.Errorf("start %s: %w", m.Name, err)
	}
	return m, nil
}

func findMySQL(ctx context.Context, o Options) (mysqlBinary, error) {
	path, err := require(ctx, o, mysqlServer())
	if err != nil {
		return mysqlBinary{}, err
	}
	bin := mysqlBinary{path: path, root: packageRoot(path), env: libraryEnv(path)}
	cmd := exec.CommandContext(ctx, path, "--no-defaults", "--version")
	cmd.Env = append(os.Environ(), bin.env...)
	version, err := cmd.CombinedOutput() // mysqld may well be a link to mariadbd
	if err != nil {
		return mysqlBinary{}, fmt.Errorf("%s --version: %w: %s", path, err, strings.TrimSpace(string(version)))
	}
	bin.mariadb = strings.Contains(string(version), "MariaDB")
	return bin, nil
}

func (b mysqlBinary) name() string {
	if b.mariadb {
		return "MariaDB"
	}
	return "MySQL"
}

// args returns the options of every start. --no-defaults must come first: the server must not read the machine's
// my.cnf.
func (b mysqlBinary) args(data string, more ...string) []string {
	args := []string{b.path, "--no-defaults", "--datadir=" + data, "--loose-innodb-log-file-size=64M", "--loose-innodb-redo-log-capacity=64M"}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root")
	}
	if b.root != "" { // its messages and character sets are not under /usr
		args = append(args, "--basedir="+filepath.Join(b.root, "usr"))
	}
	return append(args, more...)
}

// start runs the server on port and waits until it answers. It recognises its own server by the data folder.
func (m *MySQL) start(ctx context.Context, bin mysqlBinary, o Options, port int, remove string) error {
	data := filepath.Join(m.Dir, "data")
	p, err := Start(Command{Name: m.Name, Args: bin.args(data, serveArgs(m.Dir, port)...), Env: bin.env, Log: m.LogFile, Tie: o.Tie, Remove: remove})
	if err != nil {
		return err
	}
	m.Process, m.PID, m.Addr = p, p.PID, net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	cfg, err := mysql.ParseDSN(m.AdminDSN())
	if err != nil {
		return errors.Join(err, p.Kill())
	}
	cfg.Logger = &mysql.NopLogger{} // refused connections are expected while waiting
	cfg.Timeout, cfg.ReadTimeout = time.Second, 5*time.Second
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return errors.Join(err, p.Kill())
	}
	db := sql.OpenDB(connector)
	err = p.Ready(ctx, func(ctx context.Context) error { return m.probe(ctx, db, data) })
	if err = errors.Join(err, db.Close()); err != nil {
		return errors.Join(err, p.Kill())
	}
	return nil
}

func (m *MySQL) probe(ctx context.Context, db *sql.DB, data string) error {
	var served string
	if err := db.QueryRowContext(ctx, "SELECT VERSION(), @@datadir").Scan(&m.Version, &served); err != nil {
		return err
	}
	if filepath.Clean(served) != filepath.Clean(data) {
		return fmt.Errorf("another server answers on %s, with the data of %s", m.Addr, served)
	}
	return nil
}

// serveArgs returns the settings of a running server. The SQL mode is MySQL's default, also on MariaDB, so that a
// statement behaves the same on both.
func serveArgs(dir string, port int) []string {
	return []string{
		"--bind-address=127.0.0.1", "--port=" + strconv.Itoa(port), "--skip-name-resolve",
		"--socket=", "--loose-mysqlx=OFF", // a socket's path may not exceed 107 bytes; ours may
		"--pid-file=" + filepath.Join(dir, "mysql.pid"), "--tmpdir=" + dir,
		"--max-connections=2000", "--back-log=1000", "--innodb-buffer-pool-size=128M", "--performance-schema=OFF",
		"--innodb-flush-log-at-trx-commit=1", "--loose-disable-log-bin",
		"--character-set-server=utf8mb4", "--default-time-zone=+00:00",
		"--sql-mode=ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION",
	}
}
