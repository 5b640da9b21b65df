package lock

import "time"

// Observer receives what happens to locks, for metrics and logs. Its methods are called from many goroutines at once;
// Release returns when the last of them has. They must be quick and must not call back into the Locker or the Lease.
type Observer interface {
	// Waited is called once per Try or Acquire; err is what the caller gets, nil when the keys are held now.
	Waited(keys []string, d time.Duration, err error)
	// Renewed is called after each attempt to extend a lease.
	Renewed(keys []string, err error)
	// Lost is called once when a lease ends on its own; cause wraps ErrLost or ErrMaxHold.
	Lost(keys []string, cause error)
	// Released is called after each Release that asked the backend, with the time since the lease was granted.
	Released(keys []string, held time.Duration, err error)
}

type silent struct{}

var _ Observer = silent{}

func (silent) Waited([]string, time.Duration, error)   {}
func (silent) Renewed([]string, error)                 {}
func (silent) Lost([]string, error)                    {}
func (silent) Released([]string, time.Duration, error) {}
