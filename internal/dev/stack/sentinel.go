package stack

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// StartSentinel starts a Redis Sentinel that watches the server at addr under the name master. It considers the server
// down after a second without an answer. When quorum sentinels agree, they promote a replica. Sentinels of the same
// master find each other through it. Errors are those of [StartRedis].
func StartSentinel(ctx context.Context, o Options, master, addr string, quorum int) (*Redis, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("start Sentinel: %w", err)
	}
	return startRedis(ctx, "Sentinel", o, func(program, dir string, own int) ([]string, error) {
		// Sentinel stores its state in this file and does not start without it.
		file := filepath.Join(dir, "sentinel.conf")
		config := fmt.Sprintf(`port %[1]d
bind 127.0.0.1
dir "%[2]s"
sentinel monitor %[3]s %[4]s %[5]s %[6]d
sentinel down-after-milliseconds %[3]s 1000
sentinel failover-timeout %[3]s 5000
`, own, dir, master, host, port, quorum)
		return []string{program, file, "--sentinel"}, os.WriteFile(file, []byte(config), 0o600)
	})
}
