package mq

import (
	"context"
	"fmt"
	"strconv"
)

// Stored asks the brokers behind a name server how many messages they have stored since their start. A broker counts
// every copy: a delayed message again when its time has come, a half message and the note that ends it. For
// measurements. The development broker answers with an error.
func Stored(ctx context.Context, namesrv string) (int64, error) {
	ns, err := dialWire(ctx, namesrv)
	if err != nil {
		return 0, err
	}
	defer ns.close()
	masters, err := ns.masters(ctx)
	if err != nil {
		return 0, err
	}
	total := int64(0)
	for name, addr := range masters {
		n, err := storedAt(ctx, addr)
		if err != nil {
			return 0, fmt.Errorf("ask %s for its counters: %w", name, err)
		}
		total += n
	}
	return total, nil
}

func storedAt(ctx context.Context, addr string) (int64, error) {
	w, err := dialWire(ctx, addr)
	if err != nil {
		return 0, err
	}
	defer w.close()
	body, err := w.call(ctx, requestRuntimeInfo, nil)
	if err != nil {
		return 0, err
	}
	var info struct {
		Table map[string]string `json:"table"`
	}
	if err := decodeLoose(body, &info); err != nil {
		return 0, err
	}
	return strconv.ParseInt(info.Table["putMessageTimesTotal"], 10, 64)
}
