package stack

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"
)

// Free ports are taken from below the range that operating systems use for outgoing connections (32768 and up on
// Linux). A port from that range may be used by a connection before the server listens on it.
const (
	firstPort = 20000
	lastPort  = 32000
)

// The ports of whole stacks are below those: a stack has operations ports 1,000 above its services' ports, and they
// must not be ports of single servers or of outgoing connections either. Each stack has a slot.
const (
	firstSlot = 10000
	slots     = 10
	slotSize  = 100
)

// ClaimPorts returns ports for a whole stack of up to nine replicas, with either broker. No other caller of ClaimPorts
// on this machine gets them until release is called or this process ends, not even while a part of the stack is down.
func ClaimPorts() (_ Ports, release func() error, err error) {
	for _, slot := range rand.Perm(slots) {
		base := firstSlot + slot*slotSize
		// No part of a stack listens on the slot's last port. Listening on it reserves the slot.
		claim, err := net.Listen("tcp", loopback(base+slotSize-1)) //nolint:noctx // returns at once
		if err != nil {
			continue
		}
		p := Ports{
			Gateway: base, Order: base + 1, Inventory: base + 2, Wallet: base + 3,
			MySQL: base + 2030, Redis: base + 2040, Namesrv: base + 2050, // the broker is at base + 3085
		}
		if p.free() {
			return p, claim.Close, nil
		}
		if err := claim.Close(); err != nil {
			return Ports{}, nil, fmt.Errorf("claim ports: %w", err)
		}
	}
	return Ports{}, nil, fmt.Errorf("claim ports: all %d slots for whole stacks between %d and %d are in use", slots, firstSlot, firstSlot+slots*slotSize)
}

// free reports whether all ports of the largest stack are free.
func (p Ports) free() bool {
	for _, port := range p.list(maxReplicas, true) {
		if probePort(port.Number) != nil {
			return false
		}
	}
	return true
}

// FreePorts returns n consecutive ports that were free a moment ago. Blocks are aligned, so two callers get the same
// ports or disjoint ones. The ports are not reserved: a server that finds its port in use must be started on another
// one.
func FreePorts(n int) ([]int, error) {
	if n < 1 || n > 100 {
		return nil, fmt.Errorf("free ports: cannot give %d", n)
	}
	for range 200 {
		first := firstPort + rand.IntN((lastPort-firstPort)/n)*n
		ports := make([]int, 0, n)
		for port := first; port < first+n && probePort(port) == nil; port++ {
			ports = append(ports, port)
		}
		if len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("free ports: no block of %d between %d and %d", n, firstPort, lastPort)
}

// portTimeout is how long PortFree waits for a port to become free, for instance by a server that is ending.
const portTimeout = 500 * time.Millisecond

// PortFree returns an error that names the port if it is in use.
func PortFree(port int) error {
	for end := time.Now().Add(portTimeout); ; time.Sleep(readyPoll) {
		err := probePort(port)
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

// probeTimeout bounds a probe. A free port of this machine refuses at once.
const probeTimeout = time.Second

// probePort connects to the port: a free one refuses. To listen on it would be no probe, but a use: a child process
// that is just being started inherits the listener until exec, and the server for which the port was probed cannot
// start.
func probePort(port int) error {
	dialer := net.Dialer{Timeout: probeTimeout}
	c, err := dialer.Dial("tcp", loopback(port))
	if err == nil {
		return errors.Join(fmt.Errorf("port %d is in use: a server accepts connections on it", port), c.Close())
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return fmt.Errorf("port %d is in use: %w", port, err)
	}
	return nil
}

// choosePort returns the wanted port, or a free port if want is 0.
func choosePort(want int) (int, error) {
	if want != 0 {
		return want, PortFree(want)
	}
	ports, err := FreePorts(1)
	if err != nil {
		return 0, err
	}
	return ports[0], nil
}

// startTries is how often a server is started on another free port after its port was taken by another process.
const startTries = 3

// onFreePort calls start with the wanted port. If want is 0, it tries free ports until start succeeds.
func onFreePort(want int, start func(port int) error) error {
	var failed error
	for range startTries {
		port, err := choosePort(want)
		if err != nil {
			return errors.Join(failed, err)
		}
		err = start(port)
		if err == nil {
			return nil
		}
		failed = err
		if want != 0 || PortFree(port) == nil { // the port was not the cause
			return failed
		}
	}
	return failed
}
