package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// meter reads what the server itself has counted.
type meter struct{ client *redis.Client }

func newMeter(addr string) *meter {
	return &meter{redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true})}
}

func (m *meter) close() error { return m.client.Close() }

func (m *meter) reset(ctx context.Context) error { return m.client.ConfigResetStat(ctx).Err() }

// commands returns how many commands the server has executed since the reset, those inside of scripts included, without
// the meter's own.
func (m *meter) commands(ctx context.Context) (int64, error) {
	info, err := m.client.Info(ctx, "commandstats").Result()
	if err != nil {
		return 0, err
	}
	return sumCalls(info)
}

func sumCalls(info string) (int64, error) {
	var total int64
	for line := range strings.Lines(info) {
		name, stats, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || name == "cmdstat_info" || strings.HasPrefix(name, "cmdstat_config") {
			continue
		}
		calls, _, _ := strings.Cut(strings.TrimPrefix(stats, "calls="), ",")
		n, err := strconv.ParseInt(calls, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("commandstats %q: %w", line, err)
		}
		total += n
	}
	return total, nil
}

// quietAcquisitions is over how many uncontended acquisitions the round trips are counted.
const quietAcquisitions = 100

// roundTrips returns how many commands a client sends for an uncontended acquisition and its release. Each is a
// round trip, as it needs the answer to the one before.
func roundTrips(ctx context.Context, s subject, addr string) (float64, error) {
	lockers, closing, err := s.openAll(addr, 1)
	if err != nil {
		return 0, err
	}
	turn := func() error {
		release, err := lockers[0].acquire(ctx)
		if err != nil {
			return err
		}
		return release()
	}
	// The first one connects and loads scripts. A library may release behind its caller's back, so a pause lets that end.
	err = turn()
	time.Sleep(100 * time.Millisecond)
	w, watchErr := watch(addr)
	if err = errors.Join(err, watchErr); err != nil {
		return 0, errors.Join(err, closing())
	}
	for range quietAcquisitions {
		err = errors.Join(err, turn())
	}
	time.Sleep(100 * time.Millisecond)
	n, watchErr := w.stop()
	return float64(n) / quietAcquisitions, errors.Join(err, watchErr, closing())
}

// watcher sees every command that clients send, by MONITOR; what scripts call is marked there and is not counted.
type watcher struct {
	conn net.Conn
	n    chan int
}

var errNoMonitor = errors.New("the server does not show its commands")

func watch(addr string) (*watcher, error) {
	conn, err := net.DialTimeout("tcp", addr, time.Second) //nolint:noctx // bounded
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(conn)
	if _, err := io.WriteString(conn, "MONITOR\r\n"); err != nil || !lines.Scan() {
		return nil, errors.Join(err, lines.Err(), conn.Close(), errNoMonitor)
	}
	if lines.Text() != "+OK" {
		return nil, errors.Join(fmt.Errorf("%w: %s", errNoMonitor, lines.Text()), conn.Close())
	}
	w := &watcher{conn, make(chan int)}
	go func() {
		n := 0
		for lines.Scan() {
			if !strings.Contains(lines.Text(), " lua] ") {
				n++
			}
		}
		w.n <- n
	}()
	return w, nil
}

// stop ends the watch and returns the count.
func (w *watcher) stop() (int, error) {
	err := w.conn.Close()
	return <-w.n, err
}
