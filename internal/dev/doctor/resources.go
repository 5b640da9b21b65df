package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"holdfast/internal/dev/disk"
	"holdfast/internal/dev/stack"
)

// What a shop needs, in bytes. Measured: containers used 1.2 GB of memory while their shop worked. An idle shop of
// plain processes used 560 MB with RocketMQ, 260 MB with the development broker, and 180 MB on disk.
const (
	composeLimits  = 2_400_000_000 // the sum of mem_limit in docker-compose.yml
	composeMemory  = 1_300_000_000 // what the containers use
	rocketmqMemory = 700_000_000   // plain processes with RocketMQ
	devMemory      = 300_000_000   // plain processes with the development broker
	nativeDisk     = 500_000_000   // data, logs and RocketMQ's jars
	composeDisk    = 4_000_000_000 // images and volumes
	minFiles       = 4096          // Redis accepts 4,000 clients, MySQL 2,000 connections
)

// checkMemory compares the free memory with what the way needs, and for containers also the memory of the engine, which
// is a virtual machine's on Docker Desktop.
func checkMemory(ctx context.Context, e *exam) []Finding {
	free, limit := e.freeMemory()
	d := e.docker(ctx)
	if e.way(ctx) == Docker && d.memory > 0 && d.memory < composeLimits {
		level := Warning
		if d.memory < composeMemory {
			level = Problem
		}
		return []Finding{{
			Level: level, Found: fmt.Sprintf("the engine has %s, the containers may use %s", gb(d.memory), gb(composeLimits)),
			Advice: "give Docker at least 3 GB: Docker Desktop, Settings, Resources; in WSL 2, memory= in .wslconfig",
		}}
	}
	if free == 0 {
		return []Finding{{Level: OK, Found: "the free memory is unknown on this system; a shop needs " + gb(e.needed(ctx))}}
	}
	found := Finding{Level: OK, Found: gb(free) + " available" + limit + ", needed " + gb(e.needed(ctx))}
	if free < e.needed(ctx) {
		found.Level, found.Advice = Warning, "close other programs"
		if e.needed(ctx) == rocketmqMemory && e.broker() == "" {
			found.Advice += ", or use the development broker: make up BROKER=devbroker needs " + gb(devMemory)
		}
	}
	if free < e.needed(ctx)/2 {
		found.Level = Problem
	}
	return []Finding{found}
}

func (e *exam) needed(ctx context.Context) uint64 {
	switch {
	case e.way(ctx) == Docker:
		return composeMemory
	case e.startsRocketMQ():
		return rocketmqMemory
	}
	return devMemory
}

// startsRocketMQ reports whether `up` starts RocketMQ as a plain process.
func (e *exam) startsRocketMQ() bool { return e.broker() != stack.BrokerDev && e.RocketMQ() == nil }

// freeMemory returns the memory that new processes can use, or 0. limit says when a control group allows less than the
// machine has.
func (e *exam) freeMemory() (free uint64, limit string) {
	for line := range strings.Lines(file(e.Proc, "meminfo")) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemAvailable:" {
			kib, _ := strconv.ParseUint(f[1], 10, 64) // 0: unknown
			free = kib * 1024
		}
	}
	for _, v := range [][2]string{ // version 2, then version 1
		{"memory.max", "memory.current"}, {"memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"},
	} {
		most, err := strconv.ParseUint(file(e.Cgroup, v[0]), 10, 64) // without a limit "max", or a huge number
		used, usedErr := strconv.ParseUint(file(e.Cgroup, v[1]), 10, 64)
		if err == nil && usedErr == nil && most-min(used, most) < free {
			return most - min(used, most), " of this control group's " + gb(most)
		}
	}
	return free, ""
}

// checkDisk examines the folders that grow. up does not start RocketMQ where it would refuse messages. In a container
// it starts all the same.
func checkDisk(ctx context.Context, e *exam) []Finding {
	refuses := fmt.Sprintf("RocketMQ refuses every message on a partition that is more than %d%% full: free some space", stack.StoreDiskLimit)
	var full Finding
	if e.startsRocketMQ() {
		full = Finding{Level: Problem, Advice: refuses + ", or use the development broker: make up BROKER=" + stack.BrokerDev}
	}
	native := []Finding{e.diskFinding("the state", disk.Existing(e.Dir), nativeDisk, full), e.writable(disk.Existing(e.Dir))}
	found := make([]Finding, 0, len(native))
	for _, f := range native {
		if f.Way = Native; f.Found != "" {
			found = append(found, f)
		}
	}
	root := e.docker(ctx).root
	if _, err := os.Stat(root); root == "" || err != nil { // the engine runs in a virtual machine or elsewhere
		return found
	}
	f := e.diskFinding("Docker", root, composeDisk, Finding{Level: Warning, Advice: refuses})
	f.Way = Docker
	return append(found, f)
}

// diskFinding judges the partition of path, which needs so many bytes. full has the level and the advice for a
// partition on which RocketMQ would refuse messages; without a level that is no finding.
func (e *exam) diskFinding(what, path string, need uint64, full Finding) Finding {
	u, err := e.Space(path)
	if err != nil || u.Used+u.Free == 0 {
		return Finding{Level: OK, Found: fmt.Sprintf("the free space for %s is unknown on this system", what)}
	}
	f := Finding{Level: OK, Found: fmt.Sprintf("%s free for %s in %s, %d%% used, needed %s", gb(u.Free), what, path, u.Percent(), gb(need))}
	switch {
	case u.Free < need/2:
		f.Level, f.Advice = Problem, "free some space; docker system df shows what Docker uses"
	case u.Percent() > stack.StoreDiskLimit && full.Level != "":
		f.Level, f.Advice = full.Level, full.Advice
	case u.Free < need:
		f.Level, f.Advice = Warning, "free some space"
	}
	return f
}

// writable creates a file and removes it. A full disk is no finding of its own.
func (e *exam) writable(dir string) Finding {
	f, err := os.CreateTemp(dir, ".doctor-")
	if err == nil {
		_, err = f.WriteString("holdfast doctor")
		_ = f.Close()
		_ = os.Remove(f.Name())
	}
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		return Finding{Level: Problem, Found: err.Error(), Advice: "make " + dir + " writable, or choose another folder: holdfast --dir"}
	}
	return Finding{}
}

func checkFiles(_ context.Context, e *exam) []Finding {
	n, err := e.MaxFiles()
	if err != nil {
		return []Finding{{Level: OK, Found: "the limit of open files is unknown on this system"}}
	}
	if n < minFiles {
		return []Finding{{
			Level: Warning, Found: fmt.Sprintf("a process may open only %d files; load tests open 3,000 connections", n),
			Advice: "raise the hard limit: ulimit -Hn, and /etc/security/limits.conf",
		}}
	}
	if n > 1<<40 {
		return []Finding{{Level: OK, Found: "a process may open any number of files"}}
	}
	return []Finding{{Level: OK, Found: fmt.Sprintf("a process may open %d files", n)}}
}

// gb formats bytes in GB (10^9 bytes), less than one in MB.
func gb(bytes uint64) string {
	if bytes < 1e9 {
		return fmt.Sprintf("%.0f MB", float64(bytes)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(bytes)/1e9)
}
