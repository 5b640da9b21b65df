package e2e_test

import (
	"testing"

	"holdfast/internal/dev/stack"
)

// TestIdleMemory checks that each service is small enough for a laptop that runs all parts.
func TestIdleMemory(t *testing.T) {
	t.Parallel()
	sh := newShop(t, setup{})
	for _, s := range []*service{sh.gateway, sh.order, sh.inventory} {
		mb := stack.Component{PID: s.cmd.Process.Pid}.MemoryMB()
		if mb == 0 || mb >= 60 {
			t.Errorf("%s idles at %d MB, want less than 60", s.name, mb)
		}
		t.Logf("%s idles at %d MB", s.name, mb)
	}
}
