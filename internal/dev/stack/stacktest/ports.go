package stacktest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"

	"holdfast/internal/dev/stack"
)

// Whole stacks have their ports from below those that [stack.FreePorts] gives to single servers, because theirs must stay
// free while a part of the stack is down. There are ten slots, 100 ports apart.
const (
	firstSlot = 10000
	slots     = 10
	slotSize  = 100
)

// Ports returns ports for a whole stack, with replicas, that no other test uses until this one ends.
func Ports(tb testing.TB) stack.Ports {
	tb.Helper()
	for _, slot := range rand.Perm(slots) {
		base := firstSlot + slot*slotSize
		// Nothing of the stack listens on the slot's last port: holding it is what makes the slot ours.
		claim, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(base+slotSize-1)) //nolint:noctx // returns at once
		if err != nil {
			continue
		}
		tb.Cleanup(func() { _ = claim.Close() })
		// The operations' ports are 1000 above the services', the broker's 1035 above the name server's.
		return stack.Ports{
			Gateway: base, Order: base + 1, Inventory: base + 2,
			MySQL: base + 2030, Redis: base + 2040, Namesrv: base + 2050,
		}
	}
	tb.Fatal("more whole stacks at once than there are ports for")
	return stack.Ports{}
}
