package stack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"holdfast/pkg/crash"
)

// crashBin is the folder of the services that were built with crash points.
func crashBin(dir string) string { return filepath.Join(dir, "crash", "bin") }

// crashMarks is the folder in which a service leaves a file before it dies at a crash point.
func crashMarks(dir string) string { return filepath.Join(dir, "crash", "marks") }

// CrashPoint returns the crash point that was armed last in the stack of dir. reached is when that point, or the first
// of the points that lead to it, was reached, or zero. ok is false if no point was armed.
func (s State) CrashPoint(dir string) (p crash.Info, reached time.Time, ok bool) {
	p, err := crash.Find(s.Crash)
	if err != nil {
		return p, time.Time{}, false
	}
	marks := crashMarks(dir)
	reached = crash.ReachedAt(marks, p.Point)
	for _, q := range p.Points() {
		if at := crash.ReachedAt(marks, q); !reached.IsZero() && at.Before(reached) {
			reached = at
		}
	}
	return p, reached, true
}

// crashPoint returns the crash point that this Up arms; ok is false without a crash point.
func (u *upRun) crashPoint() (p crash.Info, ok bool) {
	p, err := crash.Find(u.Crash)
	return p, err == nil
}

// program returns the path of a service's program: the ordinary build, or the one with crash points.
func (u *upRun) program(service string) string {
	if p, ok := u.crashPoint(); ok && slices.Contains(p.Services(), service) {
		return filepath.Join(crashBin(u.Dir), executable(service))
	}
	return filepath.Join(u.Bin, executable(service))
}

func (u *upRun) crashEnv(service string) map[string]string {
	p, ok := u.crashPoint()
	if !ok || !slices.Contains(p.Services(), service) {
		return nil
	}
	return p.Environ(crashMarks(u.Dir))
}

// buildCrash compiles the services of the crash point.
func (u *upRun) buildCrash(ctx context.Context) error {
	if u.Crash == "" {
		return nil
	}
	p, err := crash.Find(u.Crash)
	if err != nil {
		return err
	}
	begin := time.Now()
	source, err := sources(u.Bin)
	if err != nil {
		return err
	}
	bin := crashBin(u.Dir)
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	args := []string{"build", "-trimpath", "-tags", crash.Tag, "-o", bin + string(filepath.Separator)}
	for _, service := range p.Services() {
		args = append(args, "./"+executable(service))
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = source
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build with crash points, go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	u.report("crash point", "built with -tags "+crash.Tag, begin)
	return nil
}

// sources returns the folder of this module's source: the working directory, or the parent of the programs' folder.
func sources(bin string) (string, error) {
	if _, err := exec.LookPath("go"); err != nil {
		return "", fmt.Errorf("crash points need a build with Go (https://go.dev/dl): %w", err)
	}
	for _, dir := range []string{".", filepath.Dir(bin)} {
		if _, err := os.Stat(filepath.Join(dir, nameOrder, "main.go")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("crash points need a build from source: run this in the repository's folder")
}

// arm stops the services of the crash point, so that this Up starts them with the point armed. Without a crash point
// it stops the services that still have one: the learner's next command must not kill them.
func (u *upRun) arm(ctx context.Context) error {
	p, ok := u.crashPoint()
	if !ok {
		return u.disarm(ctx)
	}
	marks := crashMarks(u.Dir)
	if err := u.stopServices(ctx, p.Services()...); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(marks), os.MkdirAll(marks, 0o755)); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.state.Crash = string(p.Point)
	return u.state.save(u.Dir)
}

func (u *upRun) disarm(ctx context.Context) error {
	p, _, ok := u.state.CrashPoint(u.Dir)
	if !ok {
		return nil
	}
	for _, c := range u.components() {
		if !strings.HasPrefix(c.Marker, crashBin(u.Dir)) {
			continue
		}
		service, what := programOf(c.Name), "did not reach its crash point"
		for _, q := range p.Points() {
			if q.Service() != service || !crash.Reached(crashMarks(u.Dir), q) {
				continue
			}
			what = "died at crash point " + string(q)
			if Running(ctx, c.PID, c.Marker) {
				what = "outlived the replica that died at crash point " + string(q)
			}
		}
		u.report(c.Name, what+"; restarts", time.Now())
		if err := u.stopServices(ctx, service); err != nil {
			return err
		}
	}
	return nil
}

// Gone returns the names of the parts that do not run.
func (s State) Gone(ctx context.Context) []string {
	gone := map[string]bool{}
	for _, c := range s.Components {
		if !Running(ctx, c.PID, c.Marker) {
			gone[c.Name] = true
		}
	}
	return slices.Sorted(maps.Keys(gone))
}
