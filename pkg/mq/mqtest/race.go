//go:build race

package mqtest

// RaceEnabled tells whether the race detector is on: the client library races with itself on ordered queues.
const RaceEnabled = true
