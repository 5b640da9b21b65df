//go:build race

package mqtest

const raceEnabled = true
