//go:build unix

package doctor

import "golang.org/x/sys/unix"

func space(path string) (Space, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return Space{}, err
	}
	block := uint64(s.Bsize)
	return Space{Free: uint64(s.Bavail) * block, Total: s.Blocks * block}, nil //nolint:unconvert // the types depend on the system
}

// maxFiles returns the hard limit: the services, MySQL and Redis raise their own limit up to it.
func maxFiles() (uint64, error) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0, err
	}
	return uint64(r.Max), nil //nolint:unconvert // the type depends on the system
}
