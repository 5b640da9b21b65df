package doctor

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/internal/dev/disk"
	"holdfast/internal/dev/stack"
)

// Machine gives the checks their facts.
type Machine struct {
	OS     string // as runtime.GOOS
	CPUs   int
	Proc   string // the folder /proc; on systems without it, its files are missing
	Cgroup string // the folder /sys/fs/cgroup
	Home   string
	Cache  string // the user's cache folder
	DotEnv string // Compose's file of variables

	Container bool // this process runs in a container
	Getenv    func(string) string
	Look      func(program string) (string, error) // as exec.LookPath
	Output    func(ctx context.Context, program string, args ...string) (string, error)
	PortFree  func(port int) error
	Space     func(path string) (disk.Usage, error)
	MaxFiles  func() (uint64, error)
	UserName  func(uid string) string
	Programs  func() []stack.Program
	RocketMQ  func() error // nil if RocketMQ can run
}

// This returns the machine on which this process runs.
func This() Machine {
	home, _ := os.UserHomeDir()   // empty: nothing is found there
	cache, _ := os.UserCacheDir() // likewise
	return Machine{
		OS: runtime.GOOS, CPUs: runtime.NumCPU(), Proc: "/proc", Cgroup: "/sys/fs/cgroup", Home: home, Cache: cache, DotEnv: ".env",
		Container: exists("/.dockerenv") || exists("/run/.containerenv"),
		Getenv:    os.Getenv, Look: exec.LookPath, Output: output, PortFree: stack.PortFree, Space: disk.Of, MaxFiles: maxFiles,
		UserName: userName, Programs: stack.Programs, RocketMQ: stack.RocketMQAvailable,
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// output returns what a program prints on standard output and standard error. It returns when ctx ends, even if a child
// of the program keeps the output open.
func output(ctx context.Context, program string, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 50 * time.Millisecond
	cmd.Dir = os.TempDir() // outside of the module: the go command must not choose or fetch another toolchain
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local", "LC_ALL=C")
	err := cmd.Run()
	if ctx.Err() != nil {
		err = errNoAnswer
	}
	return strings.TrimSpace(out.String()), err
}

var errNoAnswer = errors.New("it does not answer")

func userName(uid string) string {
	u, err := user.LookupId(uid)
	if err != nil {
		return "user " + uid
	}
	return u.Username
}

// exam is one examination.
type exam struct {
	Machine
	Options
	state    stack.State
	stateErr error
	docker   func(context.Context) dockerFacts // asks Docker once
}

func newExam(m Machine, o Options) *exam {
	if abs, err := filepath.Abs(o.Dir); err == nil {
		o.Dir = abs
	}
	e := &exam{Machine: m, Options: o}
	e.state, e.stateErr = stack.Load(o.Dir)
	var once sync.Once
	var facts dockerFacts
	e.docker = func(ctx context.Context) dockerFacts {
		once.Do(func() { facts = e.askDocker(ctx) })
		return facts
	}
	return e
}

// way resolves [Auto] as deploy/way does: what runs already decides, then the variables, then whether an engine
// answers.
func (e *exam) way(ctx context.Context) Way {
	switch {
	case e.Way == Docker || e.Way == Native:
		return e.Way
	case len(e.state.Components) > 0:
		return Native
	case len(e.docker(ctx).project()) > 0:
		return Docker
	case e.Getenv("NATIVE")+e.Getenv("BROKER") != "":
		return Native
	case e.docker(ctx).usable():
		return Docker
	}
	return Native
}

// file returns the content of a file of /proc or /sys, or "".
func file(parts ...string) string {
	b, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// path returns where a program of the native way was found.
func (e *exam) path(program string) string {
	for _, p := range e.Programs() {
		if slices.Contains(p.Looked, program) {
			return p.Path
		}
	}
	return ""
}

// processName returns the name of a process, or "".
func (e *exam) processName(pid int) string { return file(e.Proc, strconv.Itoa(pid), "comm") }
