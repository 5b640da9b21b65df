package stack

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// startTimeout bounds the start of a server if the caller's context has no deadline. Three seconds are the rule; on two
// processors with a load of 20, RocketMQ's two Java processes have needed more than a minute. A server that ends while
// it starts is noticed at once.
const startTimeout = 3 * time.Minute

// Options are common to all servers.
type Options struct {
	Dir  string    // folder for data and log, created if missing; empty: a temporary folder, removed by Stop
	Port int       // port on 127.0.0.1; 0: a free port
	Tie  bool      // ends with this process; otherwise detached
	Log  io.Writer // receives progress lines; nil: none

	StoreDisk StoreDisk // how full the partition of RocketMQ's store is; nil: as the system says
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

// what describes the server in output: name, version and address.
func (s *Server) what() string { return s.Name + " " + s.Version + " on " + s.Addr }

// Stop ends the server, waits until it has ended and removes a temporary folder. Stopping twice is no error.
func (s *Server) Stop(ctx context.Context) error {
	end := s.Process.Stop
	if s.temporary { // its data is discarded, so a clean shutdown is not needed
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

// folder creates the server's folder. remove is the folder that a tied child removes, or "" if it must stay.
func (o Options) folder(name string) (dir, remove string, err error) {
	if o.Dir == "" {
		dir, err = os.MkdirTemp(temporary(), "holdfast-"+name+"-")
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

// TempVar names the folder for the data of temporary servers; without it that is the system's folder for temporary
// files. For tests it may be a file system in memory: the servers keep their promises about a process that is killed
// there as well, and a commit does not wait for the disk. What measures must not: it would measure a database that no
// power failure may meet.
const TempVar = "HOLDFAST_TEMP"

func temporary() string { return cmp.Or(os.Getenv(TempVar), os.TempDir()) }

// withStartTimeout bounds a start if the caller's context has no deadline.
func withStartTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, bounded := ctx.Deadline(); bounded {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, startTimeout)
}
