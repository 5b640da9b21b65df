package stack_test

import (
	"os/exec"
	"sync"
	"testing"

	"holdfast/internal/dev/stack"
)

// TestPortFree_whileStartingChildren: a child inherits every descriptor until exec. A free port must not look used
// meanwhile.
func TestPortFree_whileStartingChildren(t *testing.T) {
	// Not parallel: it would disturb the ports of other tests.
	ports, err := stack.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var children sync.WaitGroup
	for range 4 {
		children.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := exec.Command("true").Run(); err != nil {
					t.Errorf("start a child: %v", err)
					return
				}
			}
		})
	}
	for range 300 {
		if err := stack.PortFree(ports[0]); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	children.Wait()
}
