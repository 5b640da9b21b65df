package stack

import (
	"fmt"

	"holdfast/internal/dev/disk"
)

// StoreDiskLimit is how full the partition of RocketMQ's store may be, in percent as [disk.Usage.Percent] has them. The
// broker looks at it for the first time after 60 seconds, and refuses every message from then on while it is fuller.
// The setting diskSpaceWarningLevelRatio cannot raise the limit: the broker caps it at 0.90.
const StoreDiskLimit = 90

// StoreDisk reads how full a partition is. A nil StoreDisk asks the system.
type StoreDisk func(path string) (disk.Usage, error)

// check returns an error when RocketMQ would refuse messages with its store in dir. What cannot be found out is no
// error.
func (read StoreDisk) check(dir string) error {
	if read == nil {
		read = disk.Of
	}
	u, err := read(dir)
	if err != nil || u.Percent() <= StoreDiskLimit {
		return nil //nolint:nilerr // unknown on this system
	}
	return fmt.Errorf("the partition of %s is %d%% full, and RocketMQ refuses every message while it is more than %d%% full: free some space, or use the development broker with BROKER=%s",
		dir, u.Percent(), StoreDiskLimit, BrokerDev)
}
