package lock_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/pkg/lock"
)

func TestNewRedis_Refuses(t *testing.T) {
	t.Parallel()
	good := lock.NewClient([]string{"127.0.0.1:1"})
	hanging := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	repeating := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", ContextTimeoutEnabled: true, MaxRetries: 7})
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	cluster := lock.NewClient([]string{"127.0.0.1:1", "127.0.0.1:2"})
	for _, c := range []redis.UniversalClient{good, hanging, repeating, ring, cluster} {
		t.Cleanup(func() { _ = c.Close() })
	}
	for name, tc := range map[string]struct {
		client redis.UniversalClient
		opts   []lock.Option
		want   string // in the error; empty: none
	}{
		"defaults":           {good, nil, ""},
		"cluster":            {cluster, nil, ""},
		"no renewal":         {good, []lock.Option{lock.WithTTL(time.Second), lock.WithMaxHold(time.Second)}, ""},
		"no margin":          {good, []lock.Option{lock.WithMargin(0)}, ""},
		"no client":          {nil, nil, "client is nil"},
		"ignores deadlines":  {hanging, nil, "ContextTimeoutEnabled false"},
		"repeats commands":   {repeating, nil, "MaxRetries 7"},
		"ring":               {ring, nil, "*redis.Ring"},
		"short TTL":          {good, []lock.Option{lock.WithTTL(99 * time.Millisecond)}, "TTL 99ms"},
		"TTL in nanoseconds": {good, []lock.Option{lock.WithTTL(8)}, "TTL 8ns"},
		"MaxHold below TTL":  {good, []lock.Option{lock.WithMaxHold(7 * time.Second)}, "MaxHold 7s"},
		"negative MaxHold":   {good, []lock.Option{lock.WithMaxHold(-time.Second)}, "MaxHold -1s"},
		"negative margin":    {good, []lock.Option{lock.WithMargin(-time.Second)}, "Margin -1s"},
		"margin eats lease":  {good, []lock.Option{lock.WithMargin(5 * time.Second)}, "Margin 5s"},
		"no prefix":          {good, []lock.Option{lock.WithPrefix("")}, `Prefix ""`},
		"braces in prefix":   {good, []lock.Option{lock.WithPrefix("a{b}")}, `Prefix "a{b}"`},
		"nil observer":       {good, []lock.Option{lock.WithObserver(nil)}, "Observer is nil"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := lock.NewRedis(tc.client, tc.opts...)
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("error = %v, want it to name %q", err, tc.want)
			}
		})
	}
}
