package crash_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"holdfast/pkg/crash"
)

func TestList(t *testing.T) {
	t.Parallel()
	seen := map[crash.Point]bool{}
	for _, p := range crash.List() {
		if seen[p.Point] {
			t.Errorf("%s is listed twice", p.Point)
		}
		seen[p.Point] = true
		if p.Dies == "" || p.Ends == "" || p.Healer == "" || p.Try == "" {
			t.Errorf("%s lacks a word on when it dies, how it ends and by whom, or how one gets there", p.Point)
		}
		if got, err := crash.Find(string(p.Point)); err != nil || got.Point != p.Point {
			t.Errorf("find %s: %s, error %v", p.Point, got.Point, err)
		}
		for _, q := range p.Points() {
			if _, err := crash.Find(string(q)); err != nil {
				t.Errorf("%s needs %s, which does not exist", p.Point, q)
			}
		}
	}
	_, err := crash.Find("order-srv@lunch")
	if err == nil || !strings.Contains(err.Error(), "order-srv@reserved") {
		t.Errorf("an unknown point: error %v, want one that lists the points", err)
	}
}

var (
	declaration = regexp.MustCompile(`(\w+)\s+Point = "([^"]+)"`)
	call        = regexp.MustCompile(`crash\.At(?:Group)?\(crash\.(\w+)`)
)

// TestAt_everyPoint looks into the services' sources: a point that no code comes to would be a test that cannot fail.
func TestAt_everyPoint(t *testing.T) {
	t.Parallel()
	names := map[string]string{}
	for _, file := range []string{"order.go", "inventory.go", "wallet.go"} {
		for _, m := range declaration.FindAllStringSubmatch(read(t, file), -1) {
			names[m[1]] = m[2]
		}
	}
	if len(names) != len(crash.List()) {
		t.Errorf("%d points are declared, %d listed", len(names), len(crash.List()))
	}
	calls := map[string]int{}
	for _, service := range []string{"order-srv", "inventory-srv"} {
		err := filepath.WalkDir("../../"+service, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") {
				return err
			}
			for _, m := range call.FindAllStringSubmatch(read(t, path), -1) {
				calls[names[m[1]]]++
				want := service
				if strings.Contains(filepath.ToSlash(path), "/order-srv/internal/wallet/") {
					want = "wallet" // a process of its own
				}
				if got := crash.Point(names[m[1]]).Service(); got != want {
					t.Errorf("%s has a point of %s", path, got)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range crash.List() {
		if calls[string(p.Point)] != 1 {
			t.Errorf("%d calls come to %s, want 1", calls[string(p.Point)], p.Point)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// build makes testdata/dies with the given flags.
func build(t *testing.T, flags ...string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "dies")
	args := append(append([]string{"build", "-o", program}, flags...), "./testdata/dies")
	if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, out)
	}
	return program
}

// run has program come to point p while it is armed for some.
func run(t *testing.T, program, marks string, p crash.Point, armed ...string) (stdout, stderr string, status syscall.WaitStatus) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, string(p))
	cmd.Env = append(os.Environ(), crash.EnvAt+"="+strings.Join(armed, ","), crash.EnvMarks+"="+marks)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	_ = cmd.Run() // its status says more
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok {
		t.Fatalf("%s has no wait status", program)
	}
	return out.String(), errOut.String(), status
}

func TestAt_diesOnce(t *testing.T) {
	t.Parallel()
	program, marks := build(t, "-tags", crash.Tag), t.TempDir()
	if out, _, status := run(t, program, marks, crash.OrderReserved, "order-srv@placed"); out != "after\ndeferred\n" || status.ExitStatus() != 0 {
		t.Errorf("armed for another point: status %v, said %q; want it to live", status, out)
	}
	both := []string{"order-srv@placed", string(crash.OrderReserved)}
	out, errOut, status := run(t, program, marks, crash.OrderReserved, both...)
	if !status.Signaled() || status.Signal() != syscall.SIGKILL || out != "" {
		t.Errorf("it ended with %v and said %q, want SIGKILL before it says anything", status, out)
	}
	if !strings.Contains(errOut, string(crash.OrderReserved)) || !crash.Reached(marks, crash.OrderReserved) {
		t.Errorf("it died without a word (%q) or a mark", errOut)
	}
	if out, _, status := run(t, program, marks, crash.OrderReserved, both...); out != "after\ndeferred\n" || status.ExitStatus() != 0 {
		t.Errorf("started again, still armed: status %v, said %q; want it to live", status, out)
	}
	if out, errOut, _ := run(t, program, filepath.Join(marks, "none"), crash.OrderReserved, both...); out == "after\ndeferred\n" {
		t.Errorf("without a folder for its mark it went on as if nothing were asked of it; it said %q", errOut)
	}
}

// TestAt_ordinaryBuild: without the tag nothing of the crash points is left in the program.
func TestAt_ordinaryBuild(t *testing.T) {
	t.Parallel()
	program, marks := build(t), t.TempDir()
	if out, _, status := run(t, program, marks, crash.OrderReserved, string(crash.OrderReserved)); out != "after\ndeferred\n" || status.ExitStatus() != 0 {
		t.Errorf("an ordinary build: status %v, said %q", status, out)
	}
	for name, want := range map[string]bool{build(t, "-tags", crash.Tag): true, program: false} {
		if got := strings.Contains(read(t, name), crash.EnvAt); got != want {
			t.Errorf("%s contains %s: %v, want %v", name, crash.EnvAt, got, want)
		}
	}
}
