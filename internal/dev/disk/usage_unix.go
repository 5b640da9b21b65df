//go:build unix

package disk

import "golang.org/x/sys/unix"

func usage(path string) (Usage, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return Usage{}, err
	}
	block := uint64(s.Bsize)
	return Usage{Used: (s.Blocks - s.Bfree) * block, Free: uint64(s.Bavail) * block}, nil //nolint:unconvert // the types depend on the system
}
