//go:build unix

package stack

import (
	"os"
	"os/exec"
	"syscall"
)

// The signals of [Process.Freeze] and [Process.Thaw].
const (
	sigStop = syscall.SIGSTOP
	sigCont = syscall.SIGCONT
)

// supported returns an error on systems on which this package starts no servers.
func supported() error { return nil }

// ownSession gives a child a session of its own, so that Ctrl-C reaches this process and not the child.
func ownSession(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

func signalProcess(pid int, sig syscall.Signal) error { return syscall.Kill(pid, sig) }

// tryLock locks a file exclusively, without waiting. The lock ends when the file is closed or the process ends.
func tryLock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
