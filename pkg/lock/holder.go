package lock

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Holder identifies the holder of a key, for operators and logs. It may have changed when it arrives: no program may
// decide by it.
type Holder struct {
	ID       string        // of the acquisition: drawn at random, another one for each lease
	Metadata string        // what the holder's WithMetadata has set
	Left     time.Duration // until the key expires if it is not renewed; negative when it never does
}

// lockValue is what a lock contains: owner ":" attempt [":" metadata].
func lockValue(owner string, attempt int, metadata string) string {
	value := owner + ":" + strconv.Itoa(attempt)
	if metadata != "" {
		value += ":" + metadata
	}
	return value
}

// parseHolder reads what lockValue has written.
func parseHolder(value string, left time.Duration) Holder {
	parts := strings.SplitN(value, ":", 3)
	h := Holder{ID: parts[0], Left: left}
	if len(parts) == 3 {
		h.Metadata = parts[2]
	}
	return h
}

// Holder returns the holder of the key; held is false when the key is free. Errors: ErrUnavailable, ErrKeys or
// ctx.Err().
func (r *Redis) Holder(ctx context.Context, key string) (h Holder, held bool, err error) {
	if err := checkKey(key); err != nil {
		return Holder{}, false, err
	}
	b := r.backend
	call, cancel := context.WithTimeout(ctx, r.set.callTimeout())
	defer cancel()
	reply, err := run(call, b.client, b.scripts.holder, []string{b.names.lock(key)}).Slice()
	if err != nil {
		return Holder{}, false, failed(ctx, fmt.Sprintf("read holder of %q", key), err)
	}
	if len(reply) < 2 {
		return Holder{}, false, nil
	}
	value, _ := reply[0].(string)
	left, _ := reply[1].(int64)
	return parseHolder(value, time.Duration(left)*time.Millisecond), true, nil
}
