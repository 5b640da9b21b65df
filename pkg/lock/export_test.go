package lock

// Quiet returns when no call of the Locker runs any more, those included that their callers have left: what a waiter
// that gave up had kept is free then.
func (l *locker) Quiet() { l.running.Wait() }
