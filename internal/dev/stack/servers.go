package stack

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// servers returns the third-party servers except the broker. Their data is kept under Dir.
func (u *upRun) servers() []part {
	return append(u.redlockNodes(), []part{
		{nameMySQL, nil, func(ctx context.Context) (Component, error) {
			m, err := StartMySQL(ctx, u.options(nameMySQL, u.Ports.MySQL))
			if err != nil {
				return Component{}, err
			}
			return component(nameMySQL, m.Server), nil
		}},
		{nameRedis, nil, func(ctx context.Context) (Component, error) {
			r, err := StartRedis(ctx, u.options(nameRedis, u.Ports.Redis))
			if err != nil {
				return Component{}, err
			}
			return component(nameRedis, r.Server), nil
		}},
	}...)
}

func (u *upRun) options(name string, port int) Options {
	return Options{Dir: filepath.Join(u.Dir, name), Port: port, Tie: u.Tie, Log: linePrefix{u, name}, StoreDisk: u.StoreDisk}
}

func component(name string, s Server) Component {
	return Component{Name: name, What: s.what(), PID: s.PID, Marker: s.Dir, Log: s.LogFile}
}

// linePrefix prints progress lines of a server's start, such as the installation of a package.
type linePrefix struct {
	u    *upRun
	name string
}

// Write implements io.Writer for whole lines.
func (l linePrefix) Write(line []byte) (int, error) {
	l.u.mu.Lock()
	defer l.u.mu.Unlock()
	_, err := fmt.Fprintf(l.u.Progress, "%6.1f s  %-15s %s", time.Since(l.u.begin).Seconds(), l.name, line)
	return len(line), err
}
