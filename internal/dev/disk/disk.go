// Package disk reads how full file systems are.
package disk

import (
	"math/bits"
	"os"
	"path/filepath"
)

// Usage is how much of a file system is used, in bytes. Used and Free are less than its size together where blocks are
// reserved for root, or where other file systems share the device.
type Usage struct {
	Used uint64
	Free uint64 // that this user can write
}

// Percent is how full the file system is for this user, rounded up: what df prints, and what RocketMQ computes from
// used/(used+free). The share of the whole size differs from it by the reserved blocks.
func (u Usage) Percent() int {
	if u.Used+u.Free == 0 {
		return 0
	}
	high, low := bits.Mul64(u.Used, 100)
	percent, rest := bits.Div64(high, low, u.Used+u.Free)
	if rest > 0 {
		percent++
	}
	return int(percent)
}

// Of returns the usage of the file system that has path, or, while path does not exist, its nearest parent that does.
// The error is errors.ErrUnsupported on systems where it is unknown.
func Of(path string) (Usage, error) { return usage(Existing(path)) }

// Existing returns path, or its nearest parent that exists.
func Existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}
