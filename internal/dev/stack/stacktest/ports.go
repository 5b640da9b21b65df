package stacktest

import (
	"testing"

	"holdfast/internal/dev/stack"
)

// Ports returns ports for a whole stack, with replicas, that no other test uses until this one ends.
func Ports(tb testing.TB) stack.Ports {
	tb.Helper()
	ports, release, err := stack.ClaimPorts()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := release(); err != nil {
			tb.Errorf("release the ports of a stack: %v", err)
		}
	})
	return ports
}
