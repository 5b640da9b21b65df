package stack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Redis is a private Redis server on loopback, without a password.
type Redis struct {
	Server
	args   []string
	env    []string
	tie    bool
	remove string
}

// StartRedis starts Redis and returns when it answers. A server in a temporary folder does not persist data; in
// another folder it keeps an append-only file. settings are additional arguments of the server and override the
// defaults. The error names what is missing or the port in use, or contains the end of the log. No process is left
// running after an error.
func StartRedis(ctx context.Context, o Options, settings ...string) (*Redis, error) {
	return startRedis(ctx, "Redis", o, func(program, dir string, port int) ([]string, error) {
		return append(redisArgs(program, dir, port, o.Dir == ""), settings...), nil
	})
}

// startRedis starts the program under the given name. args returns the command line for a port.
func startRedis(
	ctx context.Context, name string, o Options, args func(program, dir string, port int) ([]string, error),
) (*Redis, error) {
	path, err := require(ctx, o, redisServer()) // before the start timeout: a package may have to be fetched
	if err != nil {
		return nil, err
	}
	ctx, cancel := withStartTimeout(ctx)
	defer cancel()
	dir, remove, err := o.folder(strings.ToLower(name))
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	r := &Redis{
		Server: Server{Name: name, Dir: dir, LogFile: filepath.Join(dir, strings.ToLower(name)+".log"), temporary: o.Dir == ""},
		tie:    o.Tie, remove: remove, env: libraryEnv(path),
	}
	program, err := asServer(path, dir)
	if err == nil {
		err = onFreePort(o.Port, func(port int) error {
			r.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
			command, err := args(program, dir, port)
			if err != nil {
				return err
			}
			r.args = command
			return r.start(ctx)
		})
	}
	if err != nil {
		if r.temporary {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return r, nil
}

// asServer returns a link in dir to the server, named redis-server. Redis replaces its command line by the path of its
// program, so [Running] recognises the process by dir in this path. Debian's redis-tools contains the whole server as
// redis-check-rdb, and the program selects its function by its name.
func asServer(path, dir string) (string, error) {
	link := filepath.Join(dir, "redis-server")
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) { // it may lead to a program that is gone
		return "", err
	}
	return link, os.Symlink(path, link)
}

func redisArgs(program, dir string, port int, temporary bool) []string {
	args := []string{
		program, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--daemonize", "no", "--dir", dir,
		"--save", "", "--maxclients", "4000", "--appendonly",
	}
	if temporary {
		return append(args, "no")
	}
	return append(args, "yes")
}

// Restart ends the server with SIGKILL and starts it again on the same port. A temporary server is empty afterwards
// unless its settings say otherwise, as a Redis without persistence loses its locks and its stock.
func (r *Redis) Restart(ctx context.Context) error {
	if err := r.Process.Kill(); err != nil {
		return fmt.Errorf("restart Redis: %w", err)
	}
	ctx, cancel := withStartTimeout(ctx)
	defer cancel()
	if err := r.start(ctx); err != nil {
		return fmt.Errorf("restart Redis: %w", err)
	}
	return nil
}

func (r *Redis) start(ctx context.Context) error {
	p, err := Start(Command{Name: r.Name, Args: r.args, Env: r.env, Log: r.LogFile, Tie: r.tie, Remove: r.remove})
	if err != nil {
		return err
	}
	r.Process, r.PID = p, p.PID
	if err := p.Ready(ctx, r.probe); err != nil {
		return errors.Join(err, p.Kill())
	}
	return nil
}

// probe compares process ids: another server on the port has another process id.
func (r *Redis) probe(ctx context.Context) error {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", r.Addr)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing was left to write
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "INFO server\r\nQUIT\r\n"); err != nil {
		return err
	}
	var pid string
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		switch key {
		case "redis_version":
			r.Version = value
		case "process_id":
			pid = value
		}
	}
	if pid != strconv.Itoa(r.PID) {
		return fmt.Errorf("%s is not answered by process %d but by %q: %w", r.Addr, r.PID, pid, lines.Err())
	}
	return nil
}
