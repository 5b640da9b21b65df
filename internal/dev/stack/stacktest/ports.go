package stacktest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"

	"holdfast/internal/dev/stack"
)

// Ports of whole stacks are below the ports that [stack.FreePorts] gives to single servers. A stack's ports must stay
// free while one of its parts is down. There are ten slots, 100 ports apart.
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
		// No part of the stack listens on the slot's last port. Listening on it reserves the slot for this test.
		claim, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(base+slotSize-1)) //nolint:noctx // returns at once
		if err != nil {
			continue
		}
		tb.Cleanup(func() { _ = claim.Close() })
		// Operations ports are 1000 above the services' ports. The broker's port is 1035 above the name server's.
		return stack.Ports{
			Gateway: base, Order: base + 1, Inventory: base + 2, Wallet: base + 3,
			MySQL: base + 2030, Redis: base + 2040, Namesrv: base + 2050,
		}
	}
	tb.Fatal("all port slots for whole stacks are in use")
	return stack.Ports{}
}
