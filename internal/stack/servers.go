package stack

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
)

func (u *upper) servers() []part { return nil }

// State says for people whether the component runs.
func (c Component) State(ctx context.Context) string {
	if Running(ctx, c.PID, c.Marker) {
		return "runs"
	}
	return "gone"
}

// MemoryMB is the resident memory in MB (10^6 bytes), 0 when it cannot be read.
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
