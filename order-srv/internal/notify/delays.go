package notify

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Delays are the pauses after failed attempts: the first after the first attempt, and so on. After the last one there
// is one more attempt, and then the notification is given up.
type Delays []time.Duration

const (
	maxDelays   = 20
	leastDelay  = time.Millisecond
	longestSum  = 120 * time.Hour // less than the shortest RETENTION: a notification leaves with its order
	delaysUsage = "is 1 to 20 durations such as 1s,5s,30s, together at most 120h, or a factor such as 0.01 of the defaults"
)

// DefaultDelays grow from a restart of the receiver to a night without its operator: eight attempts in 31 hours.
func DefaultDelays() Delays {
	return Delays{time.Second, 5 * time.Second, 30 * time.Second, 5 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour}
}

// UnmarshalText reads durations that are separated by commas, or a number by which the defaults are multiplied.
func (d *Delays) UnmarshalText(text []byte) error {
	*d = nil
	if factor, err := strconv.ParseFloat(string(text), 64); err == nil {
		for _, delay := range DefaultDelays() {
			*d = append(*d, time.Duration(factor*float64(delay)))
		}
		return d.check()
	}
	for part := range strings.SplitSeq(string(text), ",") {
		delay, err := time.ParseDuration(strings.TrimSpace(part))
		if err != nil {
			return fmt.Errorf("%q: it %s", part, delaysUsage)
		}
		*d = append(*d, delay)
	}
	return d.check()
}

func (d *Delays) check() error {
	var sum time.Duration
	for _, delay := range *d {
		if delay < leastDelay || delay > longestSum {
			return errors.New("it " + delaysUsage)
		}
		sum += delay
	}
	if n := len(*d); n == 0 || n > maxDelays || sum > longestSum {
		return errors.New("it " + delaysUsage)
	}
	return nil
}

// after is the pause after so many failed attempts. ok is false when the notification is to be given up.
func (d Delays) after(tries int) (pause time.Duration, ok bool) {
	if tries < 1 || tries > len(d) {
		return 0, false
	}
	return d[tries-1], true
}
