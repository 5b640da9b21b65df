package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/dev/jsonfile"
)

// State is the record that `holdfast up` keeps of the processes it started.
type State struct {
	Components []Component `json:"components"`      // in start order: each part follows the parts that it needs
	Crash      string      `json:"crash,omitempty"` // the crash point that was armed last
}

// Component is one process of a running stack.
type Component struct {
	Name   string `json:"name"`
	What   string `json:"what"` // version and address, for output
	PID    int    `json:"pid"`
	Marker string `json:"marker"` // part of the command line; the process id may have been reused by another process
	Ops    string `json:"ops,omitempty"`
	Log    string `json:"log"`

	Peers map[string]string `json:"peers,omitempty"` // of a service: the addresses of the other services at its start
}

const stateFile = "state.json"

// Load reads the state in dir. It returns an empty state if there is no file.
func Load(dir string) (State, error) {
	var s State
	path := filepath.Join(dir, stateFile)
	if _, err := jsonfile.Read(path, &s); err != nil {
		return s, fmt.Errorf("read %s: %w", path, err)
	}
	return s, nil
}

// Up reports whether every part of the stack runs.
func (s State) Up(ctx context.Context) bool {
	return len(s.Components) > 0 && !slices.ContainsFunc(s.Components, func(c Component) bool {
		return !Running(ctx, c.PID, c.Marker)
	})
}

// Again returns the command that starts the missing parts of this stack.
func (s State) Again() string {
	n := 0
	for _, c := range s.Components {
		if programOf(c.Name) == nameOrder {
			n++
		}
	}
	if n < 2 {
		return "bin/holdfast up"
	}
	return fmt.Sprintf("bin/holdfast up --replicas %d", n) // without the number, up would stop all but one replica
}

// Broker returns the name and version of the part that carries the messages, for output.
func (s State) Broker() string {
	for _, name := range []string{nameRocketMQ, nameDevBroker} {
		if c, ok := s.find(name); ok {
			return name + ", " + c.What
		}
	}
	return ""
}

func (s *State) find(name string) (Component, bool) {
	i := slices.IndexFunc(s.Components, func(c Component) bool { return c.Name == name })
	if i < 0 {
		return Component{}, false
	}
	return s.Components[i], true
}

func (s *State) put(c Component) {
	s.remove(c.Name)
	s.Components = append(s.Components, c)
	slices.SortFunc(s.Components, func(a, b Component) int {
		return cmp.Or(rank(a.Name)-rank(b.Name), strings.Compare(a.Name, b.Name))
	})
}

// rank orders servers before services and services before gateways.
func rank(name string) int {
	return slices.Index([]string{nameInventory, nameWallet, nameOrder, nameGateway}, programOf(name))
}

func (s *State) remove(name string) {
	s.Components = slices.DeleteFunc(s.Components, func(c Component) bool { return c.Name == name })
}

// save replaces the file atomically.
func (s *State) save(dir string) error { return jsonfile.Replace(filepath.Join(dir, stateFile), s) }

// Down stops the processes that Up started in dir, services first, and reports them on progress. Data and logs are
// kept. It is no error if nothing runs.
func Down(ctx context.Context, dir string, progress io.Writer) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := Load(dir)
	if err != nil {
		return err
	}
	s.Crash = ""
	for _, c := range slices.Backward(s.Components) {
		begin := time.Now()
		if err := terminate(ctx, c); err != nil {
			return fmt.Errorf("stop %s: %w", c.Name, err)
		}
		s.remove(c.Name)
		if err := s.save(dir); err != nil {
			return err
		}
		fmt.Fprintf(progress, "%-15s stopped  %5.1f s\n", c.Name, time.Since(begin).Seconds())
	}
	return nil
}

// terminate stops one component. RocketMQ is killed after a second: a graceful stop takes 20 s, and the broker
// recovers from a kill.
func terminate(ctx context.Context, c Component) error {
	if c.Name == nameRocketMQ {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Second)
		defer cancel()
	}
	return Terminate(ctx, c.PID, c.Marker)
}

// lockDir prevents two commands from working on one stack at the same time. The lock ends with the process.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := tryLock(f); err != nil {
		return nil, errors.Join(fmt.Errorf("another holdfast command works on %s: %w", dir, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // closing releases the lock
}

// State describes in output whether the component runs.
func (c Component) State(ctx context.Context) string {
	if Running(ctx, c.PID, c.Marker) {
		return "runs"
	}
	return "gone"
}

// MemoryMB returns the resident memory in MB (10^6 bytes), or 0 if it cannot be read.
func (c Component) MemoryMB() int {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(c.PID) + "/status")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	i := slices.Index(fields, "VmRSS:")
	if i < 0 || i+1 >= len(fields) {
		return 0
	}
	kib, err := strconv.Atoi(fields[i+1])
	if err != nil {
		return 0
	}
	return kib * 1024 / 1_000_000
}
