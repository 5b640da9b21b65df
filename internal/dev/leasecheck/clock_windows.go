package leasecheck

import "golang.org/x/sys/windows"

// Now reads the clock of operations: monotonic, and the same for all processes. It advances in milliseconds.
func Now() int64 { return windows.DurationSinceBoot().Nanoseconds() }
