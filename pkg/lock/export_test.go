package lock

import "time"

// WithPoll sets the fallback poll, so that a test can tell it from a wake-up.
func WithPoll(d time.Duration) Option { return func(s *settings) { s.poll = d } }
