package lesson

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/lab/step"
)

// lookKeys shows the keys of the lesson whose names contain a part.
func (e *Env) lookKeys(client *redis.Client, part string) step.Looker {
	return lookKeys(client, "*"+strings.TrimPrefix(part, e.Key(""))+"*", e.Key(""))
}

// lookKeys shows the keys in Redis that match, without the prefix, with their values and times to live.
func lookKeys(client *redis.Client, match, prefix string) step.Looker {
	return func(ctx context.Context) (step.View, error) {
		v := step.View{Name: step.T("step.keys-in-redis")}
		var names []string
		for keys := client.Scan(ctx, 0, match, 1000).Iterator(); keys.Next(ctx); {
			names = append(names, keys.Val())
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			if !strings.Contains(name, prefix) {
				continue // of another lesson
			}
			value, err := valueOf(ctx, client, name)
			if err != nil {
				return v, err
			}
			ttl, err := client.PTTL(ctx, name).Result()
			if err != nil {
				return v, err
			}
			left := "TTL -1" // none
			if ttl > 0 {
				left = "TTL " + rounded(ttl).String()
			}
			if ttl != -2 { // the key has expired meanwhile
				v.Rows = append(v.Rows, fmt.Sprintf("%s = %s, %s", shortKey(name, prefix), value, left))
			}
		}
		return v, nil
	}
}

// shortKey removes the part of a name that every key of the lesson has.
func shortKey(name, prefix string) string {
	if prefix == "" {
		return name
	}
	return strings.ReplaceAll(name, prefix, "")
}

// valueOf returns a value for reading: of a hash its fields, of a stream its length.
func valueOf(ctx context.Context, client *redis.Client, key string) (string, error) {
	kind, err := client.Type(ctx, key).Result()
	if err != nil {
		return "", err
	}
	switch kind {
	case "string":
		value, err := client.Get(ctx, key).Result()
		if err == redis.Nil { //nolint:errorlint // the client returns the value itself
			return "", nil
		}
		return value, err
	case "hash":
		fields, err := client.HGetAll(ctx, key).Result()
		return strings.TrimPrefix(fmt.Sprint(fields), "map"), err
	case "stream":
		n, err := client.XLen(ctx, key).Result()
		return fmt.Sprintf("XLEN %d", n), err
	}
	return kind, nil
}
