//go:build unix

package leasecheck

import "golang.org/x/sys/unix"

// Now reads the clock of operations: monotonic, and the same for all processes.
func Now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // there is no system without it
	}
	return ts.Nano()
}
