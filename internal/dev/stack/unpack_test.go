package stack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// probe is the package of these tests; probeDeb is its file among apt's downloads.
const (
	probe    = "holdfast-probe"
	probeDeb = probe + "_1_all.deb"
)

// aptSource makes a package source with the package probe, lets apt-get use only this source, and makes cache the
// user's cache folder.
func aptSource(t *testing.T) (cache string) {
	t.Helper()
	for _, program := range []string{"apt-get", "dpkg-deb"} {
		if find(program) == "" {
			t.Skipf("%s is not here", program)
		}
	}
	dir := t.TempDir()
	cache = filepath.Join(dir, "a cache")
	t.Setenv("XDG_CACHE_HOME", cache)
	conf := filepath.Join(dir, "apt.conf")
	t.Setenv("APT_CONFIG", conf)
	source, sources := filepath.Join(dir, "source"), filepath.Join(dir, "sources.list")
	put(t, conf, fmt.Sprintf("Dir::Etc::sourcelist \"%s\";\nDir::Etc::sourceparts \"-\";\n", sources))
	put(t, sources, "deb [trusted=yes] copy:"+source+" ./\n")

	build := filepath.Join(dir, "build")
	control := "Package: " + probe + "\nVersion: 1\nArchitecture: all\nMaintainer: Holdfast <none@example.com>\nDescription: a test\n"
	put(t, filepath.Join(build, "DEBIAN", "control"), control)
	put(t, filepath.Join(build, "usr", "bin", probe), strings.Repeat("content", 10_000))
	deb := filepath.Join(source, probeDeb)
	if err := os.MkdirAll(source, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "dpkg-deb", "--root-owner-group", "-Znone", "-b", build, deb).CombinedOutput(); err != nil {
		t.Fatalf("build a package: %v\n%s", err, out)
	}
	archive, err := os.ReadFile(deb)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(source, "Packages"),
		fmt.Sprintf("%sFilename: ./%s\nSize: %d\nSHA256: %x\n", control, probeDeb, len(archive), sha256.Sum256(archive)))
	return cache
}

// put writes a file, which may be executed.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
		t.Fatal(err)
	}
}

// unpacked fails the test unless the package is complete, and nothing else is in its folder.
func unpacked(t *testing.T) {
	t.Helper()
	path := find(probe)
	if path == "" {
		t.Fatal("the program of the unpacked package is not found")
	}
	root := packageRoot(path)
	if root == "" {
		t.Fatalf("%s is found, but not in an unpacked package", path)
	}
	files, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 {
		t.Errorf("the package's folder contains %v, want only usr", files)
	}
	if got := libraryEnv(path); len(got) != 1 || !strings.HasPrefix(got[0], "LD_LIBRARY_PATH=") {
		t.Errorf("the program's environment = %q, want LD_LIBRARY_PATH", got)
	}
}

// Several processes need a package at the same time: one of them downloads it, the others wait.
func TestUnpack_concurrent(t *testing.T) {
	aptSource(t)
	var mu sync.Mutex
	var progress bytes.Buffer
	o := Options{Log: writer(func(line []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return progress.Write(line)
	})}
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			if err := unpack(t.Context(), o, probe); err != nil {
				t.Errorf("unpack: %v", err)
			}
		})
	}
	callers.Wait()
	unpacked(t)
	if n := strings.Count(progress.String(), "unpacking"); n != 1 {
		t.Errorf("%d callers unpacked, want 1:\n%s", n, progress.String())
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(line []byte) (int, error) { return w(line) }

// What an interrupted run left, or a disk damaged, is not taken for a whole.
func TestUnpack_remains(t *testing.T) {
	for name, remain := range map[string]struct{ file, text string }{
		"truncated download": {"archives/" + probeDeb, "!<arch>\n"},
		"partial download":   {"archives/partial/" + probeDeb, "!<arch>\n"},
		"half a package":     {"tree/half", "half"},
		"stale lists":        {"lists/lock", ""},
	} {
		t.Run(name, func(t *testing.T) {
			aptSource(t)
			put(t, filepath.Join(workDir(t), remain.file), remain.text)
			if err := unpack(t.Context(), Options{}, probe); err != nil {
				t.Fatal(err)
			}
			unpacked(t)
		})
	}
}

// A download of the right size with other content is noticed by dpkg-deb only, and then downloaded again.
func TestUnpack_damagedDownload(t *testing.T) {
	cache := aptSource(t)
	good, err := os.ReadFile(filepath.Join(filepath.Dir(cache), "source", probeDeb))
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(workDir(t), "archives", probeDeb), strings.Repeat("x", len(good)))
	if err := unpack(t.Context(), Options{}, probe); err != nil {
		t.Fatal(err)
	}
	unpacked(t)
}

func workDir(t *testing.T) string {
	t.Helper()
	dir, err := unpackDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "work")
}

// A failure names its cause and leaves no package behind.
func TestUnpack_fails(t *testing.T) {
	aptSource(t)
	err := unpack(t.Context(), Options{}, "holdfast-no-such-package")
	if err == nil || !strings.Contains(err.Error(), "Unable to locate package holdfast-no-such-package") {
		t.Errorf("unpack an unknown package: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := unpack(ended, Options{}, probe); !errors.Is(err, context.Canceled) {
		t.Errorf("unpack after the end of its context: %v, want context.Canceled", err)
	}
	if path := find(probe); path != "" {
		t.Errorf("%s exists", path)
	}
}

func TestDistribution(t *testing.T) {
	t.Parallel()
	for release, want := range map[string]string{
		"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n": "debian-12",
		"ID=ubuntu\nVERSION_ID='24.04'": "ubuntu-24.04",
		"ID=debian\n":                   "debian-",
		"ID=../..\nVERSION_ID=/etc":     "....-etc",
	} {
		if got := distribution(release); got != want {
			t.Errorf("distribution(%q) = %q, want %q", release, got, want)
		}
	}
}

func TestRequirement_install(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		goos, manager string
		root          bool
		want          string
	}{
		{"linux", "apt-get", false, "sudo apt-get install redis-tools"},
		{"linux", "apt-get", true, "apt-get install redis-tools"},
		{"linux", "dnf", false, "sudo dnf install redis"},
		{"linux", "pacman", false, "sudo pacman -S valkey"},
		{"linux", "", false, "install Redis with this system's package manager"},
		{"darwin", "brew", false, "brew install redis"},
		{"darwin", "", false, "install Homebrew (https://brew.sh), then brew install redis"},
		{"windows", "", false, "use WSL 2 or Docker Desktop: docs/running.md#windows"},
	} {
		s := system{goos: c.goos, root: c.root, has: func(program string) bool { return program == c.manager }}
		if got := redisServer().install(s); got != c.want {
			t.Errorf("install on %s with %q = %q, want %q", c.goos, c.manager, got, c.want)
		}
	}
}
