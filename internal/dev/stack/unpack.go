package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Without root, packages of Debian and Ubuntu are unpacked into a folder of the user:
//
//	~/.cache/holdfast/debian-12-amd64/packages/NAME   a package with its libraries, complete
//	~/.cache/holdfast/debian-12-amd64/work            the lock, downloads, package lists, the package in progress
//
// apt-get chooses the versions, resumes an interrupted download and checks the packages' signatures.

// unpackDir returns the folder of this distribution and architecture: a home folder may be shared by several machines.
func unpackDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache folder for packages: %w", err)
	}
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", fmt.Errorf("find the name of the distribution: %w", err)
	}
	return filepath.Join(cache, "holdfast", distribution(string(release))+"-"+runtime.GOARCH), nil
}

// distribution returns the distribution's name and version, such as debian-12, from the text of /etc/os-release.
func distribution(release string) string {
	values := map[string]string{}
	for line := range strings.Lines(release) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[key] = strings.Trim(value, `"'`)
	}
	return strings.ReplaceAll(values["ID"]+"-"+values["VERSION_ID"], string(filepath.Separator), "")
}

// packageRoots returns the folders of all unpacked packages.
func packageRoots() []string {
	dir, err := unpackDir()
	if err != nil {
		return nil
	}
	packages, err := os.ReadDir(filepath.Join(dir, "packages"))
	if err != nil { // nothing was unpacked
		return nil
	}
	var roots []string
	for _, p := range packages {
		roots = append(roots, filepath.Join(dir, "packages", p.Name()))
	}
	return roots
}

// packageRoot returns the folder of the unpacked package that contains the program, or "" for an installed program.
func packageRoot(program string) string {
	for _, root := range packageRoots() {
		if strings.HasPrefix(program, root+string(filepath.Separator)) {
			return root
		}
	}
	return ""
}

// libraryEnv returns the variable with which a program of an unpacked package finds the libraries beside it. It
// returns nothing for an installed program.
func libraryEnv(program string) []string {
	root := packageRoot(program)
	if root == "" {
		return nil
	}
	var dirs []string
	for _, pattern := range []string{"usr/lib/*-linux-gnu*", "lib/*-linux-gnu*", "usr/lib", "lib"} {
		found, err := filepath.Glob(filepath.Join(globQuote(root), pattern))
		if err == nil { // the only error is a malformed pattern
			dirs = append(dirs, found...)
		}
	}
	return []string{"LD_LIBRARY_PATH=" + strings.Join(dirs, ":")}
}

// globQuote makes a path a pattern that matches only itself.
func globQuote(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// canUnpack reports whether this system has packages that [unpack] can read.
func canUnpack() bool {
	_, err := unpackDir()
	return err == nil && find("apt-get") != "" && find("dpkg-deb") != ""
}

// unpack downloads the packages and what they depend on, and unpacks all of it into one folder, which gets its final
// name only when it is complete. The first package gives the folder its name. Processes wait for each other.
func unpack(ctx context.Context, o Options, pkg string) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	dir, err := unpackDir()
	if err != nil {
		return err
	}
	work, root := filepath.Join(dir, "work"), filepath.Join(dir, "packages", strings.Fields(pkg)[0])
	if err := errors.Join(os.MkdirAll(work, 0o755), os.MkdirAll(filepath.Dir(root), 0o755)); err != nil {
		return err
	}
	lock, err := waitLock(ctx, filepath.Join(work, "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()                       //nolint:errcheck // nothing was written
	if _, err := os.Stat(root); err == nil { // another process was faster
		return nil
	}
	o.progress("unpacking %s into %s", pkg, root)
	archives, tree := filepath.Join(work, "archives"), filepath.Join(work, "tree")
	defer os.RemoveAll(tree) //nolint:errcheck // what remains is removed by the next call
	for range unpackTries {
		if err = download(ctx, lock, work, pkg); err != nil {
			return err
		}
		if err = extract(ctx, lock, archives, tree); err == nil {
			return errors.Join(os.Rename(tree, root), os.RemoveAll(archives))
		}
		if removeErr := os.RemoveAll(archives); removeErr != nil {
			return errors.Join(err, removeErr)
		}
	}
	return err
}

// unpackTries is more than one because apt-get does not read again what an earlier run downloaded: a file that was
// damaged on the disk is found only when it is unpacked.
const unpackTries = 2

// download fetches packages, and those they depend on that are not installed, into work/archives. It uses the
// machine's package lists, and if they are missing or old, lists of its own.
func download(ctx context.Context, lock *os.File, work, pkg string) error {
	options := []string{
		"-o", "Debug::NoLocking=true", // the lock of work is enough
		"-o", "APT::Sandbox::User=", "-o", "Dir::Cache=" + work, "-o", "Dir::Cache::archives=" + filepath.Join(work, "archives"),
		"-o", "Acquire::http::Timeout=20", "-o", "Acquire::https::Timeout=20", "-o", "Acquire::Retries=1",
	}
	if err := makeAptFolders(work, "archives"); err != nil {
		return err
	}
	apt := find("apt-get")
	install := append([]string{"install", "--download-only", "--no-install-recommends"}, strings.Fields(pkg)...)
	if runApt(ctx, lock, apt, append(options, install...)...) == nil {
		return nil
	}
	if err := makeAptFolders(work, "lists"); err != nil {
		return err
	}
	options = append(options, "-o", "Dir::State::lists="+filepath.Join(work, "lists"), "-o", "APT::Update::Error-Mode=any",
		"-o", "Acquire::GzipIndexes=true", "-o", "Acquire::Languages=none", "-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false")
	update := runApt(ctx, lock, apt, append(options, "update")...)
	err := runApt(ctx, lock, apt, append(options, install...)...)
	if err != nil && update != nil { // one of several sources may be out of reach, and the package in another one
		return fmt.Errorf("update the package lists: %w", update)
	}
	return err
}

func makeAptFolders(work, name string) error {
	return os.MkdirAll(filepath.Join(work, name, "partial"), 0o755)
}

// extract unpacks all archives into tree, which must not contain anything else.
func extract(ctx context.Context, lock *os.File, archives, tree string) error {
	files, err := os.ReadDir(archives)
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(tree), os.Mkdir(tree, 0o755)); err != nil {
		return err
	}
	for _, f := range files {
		if filepath.Ext(f.Name()) != ".deb" {
			continue
		}
		cmd := exec.CommandContext(ctx, find("dpkg-deb"), "-x", filepath.Join(archives, f.Name()), tree)
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		cmd.ExtraFiles = []*os.File{lock} // as in runApt
		if out, err := cmd.CombinedOutput(); err != nil {
			causes := strings.SplitN(strings.TrimSpace(string(out)), "\n", 3) // of a full disk there is a line for each file
			return fmt.Errorf("extract %s: %w: %s", f.Name(), err, strings.Join(causes[:min(2, len(causes))], "; "))
		}
	}
	return nil
}
