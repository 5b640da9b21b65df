package stack

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// startTimeout is how long a server may take to answer when the caller's context has no deadline.
const startTimeout = 60 * time.Second

// Options are common to all servers.
type Options struct {
	Dir  string    // for data and log; created. Empty: a temporary folder that is removed when the server stops
	Port int       // on 127.0.0.1; 0: a free one
	Tie  bool      // dies with this process; otherwise detached
	Log  io.Writer // progress for people, a line each; nil: none
}

func (o Options) progress(format string, args ...any) {
	if o.Log != nil {
		fmt.Fprintf(o.Log, format+"\n", args...)
	}
}

// Server is one started server process.
type Server struct {
	Name    string // "MariaDB", "MySQL", "Redis"
	Version string
	Addr    string // host:port
	Dir     string // data and log
	LogFile string
	PID     int
	Process *Process

	temporary bool // Dir is removed by Stop
}

// what says for people what runs where.
func (s *Server) what() string { return s.Name + " " + s.Version + " on " + s.Addr }

// Stop ends the server and waits until it is gone; a temporary folder goes with it. Stopping twice is no error.
func (s *Server) Stop(ctx context.Context) error {
	end := s.Process.Stop
	if s.temporary { // nobody will read its data again: there is nothing to end cleanly
		end = func(context.Context) error { return s.Process.Kill() }
	}
	if err := end(ctx); err != nil {
		return fmt.Errorf("stop %s: %w", s.Name, err)
	}
	if s.temporary {
		if err := os.RemoveAll(s.Dir); err != nil {
			return fmt.Errorf("stop %s: %w", s.Name, err)
		}
	}
	return nil
}

// folder makes the server's folder. remove is what a tied child removes: the folder, when it is temporary.
func (o Options) folder(name string) (dir, remove string, err error) {
	if o.Dir == "" {
		dir, err = os.MkdirTemp("", "holdfast-"+name+"-")
		if o.Tie {
			remove = dir
		}
		return dir, remove, err
	}
	if dir, err = filepath.Abs(o.Dir); err != nil {
		return "", "", err
	}
	return dir, "", os.MkdirAll(dir, 0o700)
}

// withStartTimeout bounds a start that the caller did not bound.
func withStartTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, bounded := ctx.Deadline(); bounded {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, startTimeout)
}
