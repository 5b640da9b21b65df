package disk_test

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"holdfast/internal/dev/disk"
)

func TestUsage_Percent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		used, free uint64
		want       int
	}{
		{0, 0, 0},
		{0, 100, 0},
		{1, 1e12, 1}, // rounded up
		{90, 10, 90},
		{900_001, 99_999, 91}, // RocketMQ refuses above 90
		{44e9, 48e9, 48},      // of a device of 252 GB that others share: neither 18 nor 81
		{92e9, 8e9, 92},       // 3 of 103 GB are reserved
		{100, 0, 100},
		{1 << 62, 1 << 62, 50},
	} {
		if got := (disk.Usage{Used: c.used, Free: c.free}).Percent(); got != c.want {
			t.Errorf("%d used and %d free: %d%%, want %d%%", c.used, c.free, got, c.want)
		}
	}
}

// TestOf: the figure is that of df, also for a folder that does not exist yet.
func TestOf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "df", "-P", dir).Output()
	if err != nil {
		t.Skipf("df does not run here: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	fields := strings.Fields(lines[len(lines)-1])
	if len(fields) < 5 {
		t.Fatalf("df says %q", out)
	}
	want, err := strconv.Atoi(strings.TrimSuffix(fields[4], "%"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "not", "yet")} {
		u, err := disk.Of(path)
		if got := u.Percent(); err != nil || got < want-1 || got > want+1 { // others write meanwhile
			t.Errorf("%s: %d%%, error %v; df says %d%%", path, got, err, want)
		}
	}
}
