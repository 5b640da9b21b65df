package stack_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
)

func TestStartRocketMQ(t *testing.T) {
	t.Parallel()
	stacktest.SkipIfShort(t, "RocketMQ")
	dir := t.TempDir()
	r, err := stack.StartRocketMQ(t.Context(), stack.Options{Tie: true, Dir: dir}, "transactionTimeOut=3000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Process.Kill() })
	reachable(t, r.NamesrvAddr, true)
	reachable(t, r.BrokerAddr, true)
	if _, err := os.Stat(filepath.Join(dir, "store", "commitlog")); err != nil {
		t.Errorf("the store is not in the server's folder: %v", err)
	}
	if err := r.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	reachable(t, r.BrokerAddr, false)
	if err := r.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	reachable(t, r.BrokerAddr, true)
	if err := errors.Join(r.Stop(t.Context()), r.Stop(t.Context())); err != nil {
		t.Fatal(err)
	}
	reachable(t, r.NamesrvAddr, false)
	if _, err := os.Stat(filepath.Join(dir, "store")); err != nil {
		t.Errorf("the store of a folder that was given is gone: %v", err)
	}
}

func TestStartRocketMQ_portInUse(t *testing.T) {
	t.Parallel()
	stacktest.SkipIfShort(t, "RocketMQ")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_, err = stack.StartRocketMQ(t.Context(), stack.Options{Tie: true, Port: l.Addr().(*net.TCPAddr).Port})
	if err == nil || !strings.Contains(err.Error(), port) {
		t.Errorf("error = %v, want one that names port %s", err, port)
	}
}

func TestStartRocketMQ_badSetting(t *testing.T) {
	t.Parallel()
	stacktest.SkipIfShort(t, "RocketMQ")
	_, err := stack.StartRocketMQ(t.Context(), stack.Options{Tie: true}, "storePathRootDir=/proc/nowhere")
	if err == nil || !strings.Contains(err.Error(), "log ends with") {
		t.Errorf("error = %v, want one with the log's end", err)
	}
}

func reachable(t *testing.T, addr string, want bool) {
	t.Helper()
	var err error
	// A child that is being started may keep a closed listener open for a moment.
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var conn net.Conn
		if conn, err = net.DialTimeout("tcp", addr, time.Second); err == nil {
			_ = conn.Close()
		}
		if (err == nil) == want {
			return
		}
	}
	t.Errorf("%s reachable = %v, want %v (%v)", addr, err == nil, want, err)
}
