package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"holdfast/pkg/wait"
)

// binDirs are searched after PATH: servers live in sbin, and Homebrew, under /opt/homebrew or /usr/local, keeps
// versioned formulas out of PATH.
func binDirs() []string {
	dirs := []string{"/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/usr/libexec", "/opt/homebrew/bin", "/usr/local/mysql/bin"}
	for _, brew := range []string{"/opt/homebrew", "/usr/local"} {
		for _, formula := range []string{"mariadb", "mysql", "mysql@8.4", "redis", "openjdk@17", "openjdk@21", "openjdk"} {
			dirs = append(dirs, filepath.Join(brew, "opt", formula, "bin"))
		}
	}
	return dirs
}

// programDirs are the folders that are searched after PATH: first those of installed, then those of unpacked packages.
func programDirs() []string {
	dirs := binDirs()
	for _, root := range packageRoots() {
		dirs = append(dirs, filepath.Join(root, "usr", "sbin"), filepath.Join(root, "usr", "bin"))
	}
	return dirs
}

// find returns the path of the first of the programs that exists, or an empty string.
func find(programs ...string) string {
	for _, program := range programs {
		if path, err := exec.LookPath(program); err == nil && !macStub(path) {
			return path
		}
		for _, dir := range programDirs() {
			if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
				return path
			}
		}
	}
	return ""
}

// macStub reports whether the program is one of those that macOS has in place of Java. Without an installed Java they
// only ask the user to install one.
func macStub(path string) bool {
	if runtime.GOOS != "darwin" || path != "/usr/bin/java" && path != "/usr/bin/javac" {
		return false
	}
	return exec.Command("/usr/libexec/java_home").Run() != nil //nolint:noctx // returns at once
}

// requirement describes a program that this package starts and the packages that contain it.
type requirement struct {
	name     string            // the name in messages
	use      string            // what needs it
	programs []string          // alternatives; the first that exists is used
	packages []string          // of Debian and Ubuntu, tried in order; an entry may name several; none may start a daemon
	others   map[string]string // the package of other package managers, by the manager's program
	getting  getting           // what require does if the program is missing
}

// getting says what installs a missing program.
type getting int

const (
	fetchNever   getting = iota // require only says what is missing
	fetchAsRoot                 // as root on Debian and Ubuntu, require installs it
	fetchForShop                // likewise, and without root require unpacks it into the user's cache
)

// automatic reports whether require would get the missing program on this machine.
func (r requirement) automatic() bool {
	if os.Geteuid() == 0 {
		return r.getting != fetchNever && find("apt-get") != ""
	}
	return r.getting == fetchForShop && canUnpack()
}

// missing is the error for a program that was not found.
func (r requirement) missing() error {
	return fmt.Errorf("%s is not installed (looked for %s); %s", r.name, strings.Join(r.programs, ", "), r.install(thisSystem()))
}

// require returns the program's path. On Debian and Ubuntu it gets a missing program: as root it installs the package,
// else it unpacks it into the user's cache.
func require(ctx context.Context, o Options, r requirement) (string, error) {
	if path := find(r.programs...); path != "" {
		return path, nil
	}
	err := r.missing()
	if !r.automatic() {
		return "", err
	}
	for _, pkg := range r.packages {
		getErr := get(ctx, o, pkg)
		if path := find(r.programs...); path != "" {
			return path, nil
		}
		err = errors.Join(err, getErr)
		if !errors.Is(getErr, errNoPackage) { // another package would fail for the same reason
			break
		}
	}
	return "", err
}

// get installs or unpacks one entry of requirement.packages.
func get(ctx context.Context, o Options, pkg string) error {
	if os.Geteuid() == 0 {
		o.progress("installing %s", pkg)
		return aptInstall(ctx, find("apt-get"), pkg)
	}
	if err := unpack(ctx, o, pkg); err != nil {
		return fmt.Errorf("unpack %s into the user's cache: %w", pkg, err)
	}
	return nil
}

// RequireRaceDetector makes sure that a C compiler is installed, which Go's race detector needs.
func RequireRaceDetector(ctx context.Context, progress io.Writer) error {
	_, err := require(ctx, Options{Log: progress}, cCompiler())
	return err
}

// RequireBrowser returns the path of a Chromium, for tests that load a page in a browser.
func RequireBrowser(ctx context.Context, progress io.Writer) (string, error) {
	return require(ctx, Options{Log: progress}, requirement{
		name:     "Chromium",
		use:      "tests that load a page",
		programs: []string{"chromium", "chromium-browser", "google-chrome"},
		packages: []string{"chromium"},
		others:   map[string]string{"brew": "--cask chromium", "dnf": "chromium", "pacman": "chromium", "zypper": "chromium"},
		getting:  fetchAsRoot,
	})
}

// aptInstall installs packages, and updates the package lists if the first attempt fails. A client can wait for only
// some of apt's locks, so installations by all Holdfast processes wait for one lock of their own.
func aptInstall(ctx context.Context, apt, pkg string) error {
	lock, err := waitLock(ctx, filepath.Join(os.TempDir(), "holdfast-apt.lock"))
	if err != nil {
		return fmt.Errorf("install %s: %w", pkg, err)
	}
	defer lock.Close() //nolint:errcheck // nothing was written
	run := func(args ...string) error {
		return runApt(ctx, lock, apt, append([]string{"-o", "DPkg::Lock::Timeout=120"}, args...)...)
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

// errNoPackage means that the distribution has no package of this name, or that there are no package lists.
var errNoPackage = errors.New("there is no such package")

// runApt runs apt-get. The error contains the first cause that apt-get names. held stays open in apt-get and ends with
// it: an apt-get that outlives this process keeps its lock.
func runApt(ctx context.Context, held *os.File, apt string, args ...string) error {
	cmd := exec.CommandContext(ctx, apt, append([]string{"-q", "-y"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	cmd.ExtraFiles = []*os.File{held}
	cmd.WaitDelay = time.Second // its download methods may outlive it for a moment
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("apt-get: %w", ctx.Err())
	}
	cause := firstLine(string(out), "E: ")
	if strings.Contains(cause, "Unable to locate package") || strings.Contains(cause, "has no installation candidate") {
		err = errNoPackage
	}
	return fmt.Errorf("apt-get: %w: %s", err, cause)
}

// firstLine returns the first line with the prefix. Without one it returns the last line.
func firstLine(text, prefix string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for _, line := range lines {
		if strings.HasPrefix(line, prefix) {
			return line
		}
	}
	return lines[len(lines)-1]
}

// lockPoll is the pause between two attempts to get a lock file.
const lockPoll = 100 * time.Millisecond

// waitLock waits until no other process holds the lock file. Closing the file releases the lock.
func waitLock(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = wait.Until(ctx, lockPoll, func(context.Context) (bool, error) { return tryLock(f) == nil, nil })
	if err != nil {
		return nil, errors.Join(fmt.Errorf("wait for the lock %s: %w", path, err), f.Close())
	}
	return f, nil
}
