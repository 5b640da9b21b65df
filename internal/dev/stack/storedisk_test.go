package stack_test

import (
	"io"
	"os"
	"strings"
	"testing"

	"holdfast/internal/dev/disk"
	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
)

func partition(percent uint64) stack.StoreDisk {
	return func(string) (disk.Usage, error) { return disk.Usage{Used: percent, Free: 100 - percent}, nil }
}

// explains reports whether an error says what is full, how full, and what to do.
func explains(err error, dir string) bool {
	for _, want := range []string{dir, "91% full", "more than 90% full", "free some space", "BROKER=devbroker"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			return false
		}
	}
	return true
}

// TestStartRocketMQ_fullDisk: RocketMQ is not started where it would refuse messages, and leaves no folder.
func TestStartRocketMQ_fullDisk(t *testing.T) {
	t.Parallel()
	if err := stack.RocketMQAvailable(); err != nil {
		t.Skipf("RocketMQ cannot run here: %v", err)
	}
	dir := t.TempDir() + "/rocketmq"
	o := stack.Options{Tie: true, Dir: dir, StoreDisk: partition(91)}
	if _, err := stack.StartRocketMQ(t.Context(), o); !explains(err, dir) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("%s was created", dir)
	}
	if _, _, _, err := stack.StartBroker(t.Context(), stack.BrokerAuto, o); !explains(err, dir) {
		t.Errorf("a broker for tests: error %v", err)
	}
}

// TestUp_fullDisk: up refuses before it starts anything, also when it is to choose the broker.
func TestUp_fullDisk(t *testing.T) {
	t.Parallel()
	if err := stack.RocketMQAvailable(); err != nil {
		t.Skipf("RocketMQ cannot run here: %v", err)
	}
	for _, broker := range []string{stack.BrokerAuto, stack.BrokerRocketMQ} {
		dir := t.TempDir()
		err := stack.Up(t.Context(), stack.UpOptions{Dir: dir, Bin: dir, Broker: broker, Progress: io.Discard, Tie: true, StoreDisk: partition(91)})
		if !explains(err, dir) {
			t.Errorf("%s: error %v", broker, err)
		}
		if state, err := stack.Load(dir); err != nil || len(state.Components) != 0 {
			t.Errorf("%s: started %v, error %v", broker, state.Components, err)
		}
	}
}

// TestStartRocketMQ_almostFullDisk: at the limit it starts, and is not started again above it.
func TestStartRocketMQ_almostFullDisk(t *testing.T) {
	t.Parallel()
	stacktest.SkipIfShort(t, "RocketMQ")
	percent := uint64(90)
	dir := t.TempDir()
	r, err := stack.StartRocketMQ(t.Context(), stack.Options{Tie: true, Dir: dir, StoreDisk: func(path string) (disk.Usage, error) { return partition(percent)(path) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Process.Kill() })
	percent = 91
	if err := r.Restart(t.Context()); !explains(err, dir) {
		t.Errorf("restart: error %v", err)
	}
}
