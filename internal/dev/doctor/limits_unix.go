//go:build unix

package doctor

import "golang.org/x/sys/unix"

// maxFiles returns the hard limit: the services, MySQL and Redis raise their own limit up to it.
func maxFiles() (uint64, error) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0, err
	}
	return uint64(r.Max), nil //nolint:unconvert // the type depends on the system
}
