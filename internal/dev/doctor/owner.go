package doctor

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/dev/stack"
)

// owner is the process that listens on a port. A zero field is unknown.
type owner struct {
	uid  string // of the user
	pid  int    // 0 if the process belongs to another user
	name string
}

// listening is the state of a listening socket in /proc/net/tcp.
const listening = "0A"

// owners reads the listeners of the ports from /proc. It finds nothing on systems without /proc.
func (e *exam) owners(ports []stack.Port) map[int]owner {
	byPort, byInode := map[int]owner{}, map[string][]int{}
	for _, table := range []string{"tcp", "tcp6"} {
		for line := range strings.Lines(file(e.Proc, "net", table)) {
			port, uid, inode, ok := parseSocket(line)
			if ok && slices.ContainsFunc(ports, func(p stack.Port) bool { return p.Number == port }) {
				byPort[port] = owner{uid: uid}
				byInode["socket:["+inode+"]"] = append(byInode["socket:["+inode+"]"], port)
			}
		}
	}
	for _, pid := range e.pids() {
		for _, socket := range e.sockets(pid) {
			for _, port := range byInode[socket] {
				o := byPort[port]
				o.pid, o.name = pid, e.processName(pid)
				byPort[port] = o
			}
		}
	}
	return byPort
}

// parseSocket reads a line of /proc/net/tcp. ok is false for other lines than those of listening sockets.
func parseSocket(line string) (port int, uid, inode string, ok bool) {
	f := strings.Fields(line) // sl, local_address, rem_address, st, queues, timer, retransmits, uid, timeout, inode
	if len(f) < 10 || f[3] != listening {
		return 0, "", "", false
	}
	_, hex, _ := strings.Cut(f[1], ":")
	n, err := strconv.ParseUint(hex, 16, 16)
	return int(n), f[7], f[9], err == nil
}

// pids returns all processes.
func (e *exam) pids() []int {
	entries, err := os.ReadDir(e.Proc)
	if err != nil {
		return nil
	}
	var pids []int
	for _, d := range entries {
		if pid, err := strconv.Atoi(d.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// sockets returns the sockets of a process, as "socket:[inode]". There are none if the process belongs to another user.
func (e *exam) sockets(pid int) []string {
	dir := filepath.Join(e.Proc, strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var sockets []string
	for _, d := range entries {
		if target, err := os.Readlink(filepath.Join(dir, d.Name())); err == nil && strings.HasPrefix(target, "socket:") {
			sockets = append(sockets, target)
		}
	}
	return sockets
}
