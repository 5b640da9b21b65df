package stack

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// Windows has neither signal; see [signalProcess].
const (
	sigStop = syscall.Signal(0x13)
	sigCont = syscall.Signal(0x12)
)

// supported returns an error on systems on which this package starts no servers.
func supported() error {
	return errors.New("this program starts no servers on Windows; run it in WSL 2, or the shop with Docker Desktop: docs/running.md#windows")
}

func ownSession(*exec.Cmd) {}

func signalProcess(int, syscall.Signal) error { return errors.ErrUnsupported }

// tryLock needs no lock: on Windows no command starts or stops a server.
func tryLock(*os.File) error { return nil }
