package store

import (
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

// newNumber makes an order number, a ULID, that is greater than after, "" being before all, and than those that this
// process has made with the same time. It has the database's time, so that numbers order the orders by age. When that
// clock was set back behind after, the number has the first time after it.
func newNumber(now time.Time, after string) (string, error) {
	ms := ulid.Timestamp(now)
	if after != "" {
		last, err := ulid.ParseStrict(after)
		if err != nil {
			return "", fmt.Errorf("read the mark %s: %w", after, err)
		}
		ms = max(ms, last.Time()+1)
	}
	id, err := ulid.New(ms, ulid.DefaultEntropy())
	if err != nil {
		return "", fmt.Errorf("make an order number: %w", err)
	}
	return id.String(), nil
}

// timeDigits is how many characters of an order number are its time.
const timeDigits = 10

// lastNumber is the greatest order number that has the time.
func lastNumber(t time.Time) string {
	var id ulid.ULID
	if err := id.SetTime(ulid.Timestamp(t)); err != nil {
		return ""
	}
	no := id.String()
	return no[:timeDigits] + strings.Repeat("Z", len(no)-timeDigits)
}
