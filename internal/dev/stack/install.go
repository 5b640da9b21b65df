package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// binDirs are searched after PATH: servers live in sbin, and Homebrew keeps some formulas out of PATH.
func binDirs() []string {
	return []string{
		"/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/usr/libexec",
		"/opt/homebrew/bin", "/opt/homebrew/opt/mariadb/bin", "/opt/homebrew/opt/mysql/bin", "/usr/local/mysql/bin",
	}
}

// find returns the path of the first of the programs that exists, or an empty string.
func find(programs ...string) string {
	for _, program := range programs {
		if path, err := exec.LookPath(program); err == nil {
			return path
		}
		for _, dir := range binDirs() {
			if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
				return path
			}
		}
	}
	return ""
}

// requirement is a program that we start, and where it comes from.
type requirement struct {
	name     string   // for people
	programs []string // any of them will do
	packages []string // of Debian and Ubuntu, tried in this order, several with blanks between; they must not start a daemon
	hint     string   // what to install elsewhere
}

// require returns the program's path. Where it is missing and this is Debian or Ubuntu and we are root, it is installed.
func require(ctx context.Context, o Options, r requirement) (string, error) {
	if path := find(r.programs...); path != "" {
		return path, nil
	}
	missing := fmt.Errorf("%s is not installed (looked for %s); %s", r.name, strings.Join(r.programs, ", "), r.hint)
	apt := find("apt-get")
	if apt == "" || os.Geteuid() != 0 {
		return "", missing
	}
	err := missing
	for _, pkg := range r.packages {
		o.progress("installing %s", pkg)
		if installErr := aptInstall(ctx, apt, pkg); installErr != nil {
			err = errors.Join(err, installErr)
			continue
		}
		if path := find(r.programs...); path != "" {
			return path, nil
		}
	}
	return "", err
}

// RequireRaceDetector makes sure that Go's race detector can be linked, which takes a C compiler.
func RequireRaceDetector(ctx context.Context, progress io.Writer) error {
	_, err := require(ctx, Options{Log: progress}, requirement{
		name:     "a C compiler, for the race detector,",
		programs: []string{"gcc", "clang", "cc"},
		packages: []string{"gcc libc6-dev"},
		hint:     "install gcc or clang",
	})
	return err
}

// RequireBrowser returns the path of a Chromium, for tests that open a page as its reader does.
func RequireBrowser(ctx context.Context, progress io.Writer) (string, error) {
	return require(ctx, Options{Log: progress}, requirement{
		name:     "Chromium",
		programs: []string{"chromium", "chromium-browser", "google-chrome"},
		packages: []string{"chromium"},
		hint:     "install Chromium or Chrome",
	})
}

// aptInstall installs packages, with fresh package lists when the first try fails. apt has locks of its own, but only
// some of them can be waited for, so all of our installations, of this process and of others, stand in one queue.
func aptInstall(ctx context.Context, apt, pkg string) error {
	unlock, err := aptQueue()
	if err != nil {
		return fmt.Errorf("install %s: %w", pkg, err)
	}
	defer unlock()
	run := func(args ...string) error {
		cmd := exec.CommandContext(ctx, apt, append([]string{"-q", "-y", "-o", "DPkg::Lock::Timeout=120"}, args...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			return fmt.Errorf("apt-get %s: %w: %s", args[0], err, lines[len(lines)-1])
		}
		return nil
	}
	install := append([]string{"install", "--no-install-recommends"}, strings.Fields(pkg)...)
	if run(install...) == nil {
		return nil
	}
	if err := run("update"); err != nil {
		return fmt.Errorf("install %s: %w", pkg, err)
	}
	if err := run(install...); err != nil {
		return fmt.Errorf("install %s: %w", pkg, err)
	}
	return nil
}

// aptQueue waits until nobody else of us installs. The lock goes with the process.
func aptQueue() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "holdfast-apt.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil // closing releases the lock
}
