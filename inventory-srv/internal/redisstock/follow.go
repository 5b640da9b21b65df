package redisstock

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// follow applies the next entries and returns their number. An *errNotOpen asks for a new epoch. With forced it reads a
// log that is shut.
func (w *writer) follow(ctx context.Context, forced bool) (int, error) {
	entries, err := w.read(ctx, forced)
	if err != nil || len(entries) == 0 {
		return 0, err
	}
	err = w.Follow(ctx, w.token, w.position.Epoch, w.position.AppliedID, Name, entries)
	if errors.Is(err, ErrDrift) {
		w.cfg.Log.ErrorContext(ctx, "the stream took more than there was, the ledger is right", "err", err)
		return 0, &errNotOpen{loss: &Loss{Reason: "the stream took more than there was"}}
	}
	if err != nil {
		return 0, fmt.Errorf("apply %d entries: %w", len(entries), err)
	}
	w.position.AppliedID = entries[len(entries)-1].ID
	w.metrics.followed.Add(float64(len(entries)))
	w.metrics.batch.Observe(float64(len(entries)))
	return len(entries), w.acknowledge(ctx, w.position.AppliedID, entries)
}

// acknowledge trims the log and lets orders expire, up to an entry that MySQL has applied. That entry stays.
func (w *writer) acknowledge(ctx context.Context, upTo string, entries []StreamEntry) error {
	args := []any{upTo, w.life()}
	for _, e := range entries {
		if e.OrderNo != "" {
			args = append(args, e.OrderNo, e.ID)
		}
	}
	_, err := w.run(ctx, w.scripts.followed, args...)
	return err
}

// read returns the entries after the last applied one. It checks in the same transaction that the log has the applied
// entry: a log without it is another log.
func (w *writer) read(ctx context.Context, forced bool) ([]StreamEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var verdict *redis.Cmd
	var found *redis.XMessageSliceCmd
	_, err := w.cfg.Client.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		verdict = tx.EvalSha(ctx, w.scripts.read.Hash(), w.keys, w.prefix(w.position.Epoch), w.position.Epoch, "", 0, w.position.AppliedID, flag(forced))
		found = tx.XRangeN(ctx, w.keys[1], "("+w.position.AppliedID, "+", readEntries)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	answer, err := verdict.StringSlice()
	switch {
	case err != nil || len(answer) == 0:
		return nil, fmt.Errorf("read the log: Redis answered %q: %w", answer, err)
	case answer[0] == verdictShut:
		return nil, &errNotOpen{}
	case answer[0] != verdictOK:
		return nil, &errNotOpen{loss: &Loss{Reason: strings.Join(answer, " ")}}
	}
	return parseEntries(found.Val())
}

// parseEntries reads entries in the format of the scripts.
func parseEntries(messages []redis.XMessage) ([]StreamEntry, error) {
	entries := make([]StreamEntry, len(messages))
	for i, m := range messages {
		field := func(name string) string {
			text, _ := m.Values[name].(string)
			return text
		}
		e := StreamEntry{ID: m.ID, Operation: Operation(field("o")), OrderNo: field("n"), Hash: field("h")}
		var err error
		if e.Lines, err = ParseLines(field("l")); err != nil {
			return nil, fmt.Errorf("entry %s: %w", m.ID, err)
		}
		if rows := field("m"); rows != "" {
			e.ToUnallocated = strings.Split(rows, ";")
		}
		entries[i] = e
	}
	return entries, nil
}

// run executes a script in the writer's epoch.
func (w *writer) run(ctx context.Context, script *redis.Script, args ...any) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	all := append([]any{w.prefix(w.position.Epoch), w.position.Epoch, "", 0}, args...)
	answer, err := script.Run(ctx, w.cfg.Client, w.keys, all...).StringSlice()
	if err == nil && len(answer) == 0 {
		err = errors.New("a script gave no answer")
	}
	return answer, err
}

// acknowledgeApplied acknowledges what an earlier writer has applied and not acknowledged.
func (w *writer) acknowledgeApplied(ctx context.Context) error {
	for {
		rest, err := w.cfg.Client.XRangeN(ctx, w.keys[1], "-", w.position.AppliedID, readEntries).Result()
		if err != nil {
			return fmt.Errorf("read the rest of the log: %w", err)
		}
		if len(rest) < 2 { // the last applied entry itself stays
			return nil
		}
		entries, err := parseEntries(rest)
		if err != nil {
			return err
		}
		if err := w.acknowledge(ctx, rest[len(rest)-1].ID, entries); err != nil {
			return err
		}
	}
}
