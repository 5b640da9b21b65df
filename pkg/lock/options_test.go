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
	plain := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	cluster := lock.NewClient([]string{"127.0.0.1:1", "127.0.0.1:2"})
	sentinel := lock.NewSentinelClient("m", []string{"127.0.0.1:1", "127.0.0.1:2"})
	late := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, ContextTimeoutEnabled: true, RouteRandomly: true})
	slowSentinel := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "m", SentinelAddrs: []string{"127.0.0.1:1"}, MaxRetries: -1})
	for _, c := range []redis.UniversalClient{good, hanging, repeating, plain, ring, cluster, sentinel, late, slowSentinel} {
		t.Cleanup(func() { _ = c.Close() })
	}
	for name, tc := range map[string]struct {
		client redis.UniversalClient
		opts   []lock.Option
		want   string // in the error; empty: none
	}{
		"defaults":           {good, nil, ""},
		"cluster":            {cluster, nil, ""},
		"sentinel":           {sentinel, nil, ""},
		"replica reads":      {late, nil, "redis.ClusterOptions.RouteRandomly true, want false"},
		"sentinel, hangs":    {slowSentinel, nil, "redis.Options.ContextTimeoutEnabled false, want true"},
		"typed nil client":   {(*redis.Client)(nil), nil, "client is nil"},
		"no renewal":         {good, []lock.Option{lock.WithTTL(time.Second), lock.WithMaxHold(time.Second)}, ""},
		"no margin":          {good, []lock.Option{lock.WithMargin(0)}, ""},
		"no client":          {nil, nil, "client is nil"},
		"ignores deadlines":  {hanging, nil, "redis.Options.ContextTimeoutEnabled false, want true"},
		"repeats commands":   {repeating, nil, "redis.Options.MaxRetries 7, want -1"},
		"both wrong":         {plain, nil, "MaxRetries 3, want -1"},
		"ring":               {ring, nil, "*redis.Ring, want a *redis.Client or a *redis.ClusterClient"},
		"short TTL":          {good, []lock.Option{lock.WithTTL(99 * time.Millisecond)}, "TTL 99ms"},
		"TTL in nanoseconds": {good, []lock.Option{lock.WithTTL(8)}, "TTL 8ns"},
		"MaxHold below TTL":  {good, []lock.Option{lock.WithMaxHold(7 * time.Second)}, "MaxHold 7s"},
		"negative MaxHold":   {good, []lock.Option{lock.WithMaxHold(-time.Second)}, "MaxHold -1s"},
		"negative margin":    {good, []lock.Option{lock.WithMargin(-time.Second)}, "Margin -1s"},
		"margin eats lease":  {good, []lock.Option{lock.WithMargin(5 * time.Second)}, "Margin 5s"},
		"no prefix":          {good, []lock.Option{lock.WithPrefix("")}, `Prefix ""`},
		"braces in prefix":   {good, []lock.Option{lock.WithPrefix("a{b}")}, `Prefix "a{b}"`},
		"long prefix":        {good, []lock.Option{lock.WithPrefix(strings.Repeat("p", 129))}, "129 bytes"},
		"longest prefix":     {good, []lock.Option{lock.WithPrefix(strings.Repeat("p", 128))}, ""},
		"busy poll":          {good, []lock.Option{lock.WithPoll(999)}, "Poll 999ns"},
		"nil option":         {good, []lock.Option{nil}, "option 0 is nil"},
		"nil observer":       {good, []lock.Option{lock.WithObserver(nil)}, "Observer is nil"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := lock.NewRedis(tc.client, tc.opts...)
			wantRefusal(t, err, tc.want)
		})
	}
}

func TestNewRedlock_Refuses(t *testing.T) {
	t.Parallel()
	node := func(addr string) redis.UniversalClient {
		c := lock.NewClient([]string{addr})
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	a, b, c := node("127.0.0.1:1"), node("127.0.0.1:2"), node("127.0.0.1:3")
	cluster := lock.NewClient([]string{"127.0.0.1:1", "127.0.0.1:2"})
	sentinel := lock.NewSentinelClient("m", []string{"127.0.0.1:1"})
	hanging := redis.NewClient(&redis.Options{Addr: "127.0.0.1:4", MaxRetries: -1})
	for _, c := range []redis.UniversalClient{cluster, sentinel, hanging} {
		t.Cleanup(func() { _ = c.Close() })
	}
	for name, tc := range map[string]struct {
		clients []redis.UniversalClient
		opts    []lock.Option
		want    string // in the error; empty: none
	}{
		"three":           {[]redis.UniversalClient{a, b, c}, nil, ""},
		"none":            {nil, nil, "0 nodes"},
		"one":             {[]redis.UniversalClient{a}, nil, "1 nodes"},
		"two":             {[]redis.UniversalClient{a, b}, nil, "2 nodes"},
		"four":            {[]redis.UniversalClient{a, b, c, node("127.0.0.1:4")}, nil, "4 nodes"},
		"same client":     {[]redis.UniversalClient{a, b, a}, nil, "nodes 0 and 2 are both 127.0.0.1:1"},
		"same address":    {[]redis.UniversalClient{a, b, node("127.0.0.1:2")}, nil, "nodes 1 and 2 are both 127.0.0.1:2"},
		"same by a name":  {[]redis.UniversalClient{a, b, node("LocalHost:2")}, nil, "nodes 1 and 2 are both LocalHost:2"},
		"nil node":        {[]redis.UniversalClient{a, nil, c}, nil, "node 1: lock: client is nil"},
		"cluster node":    {[]redis.UniversalClient{a, b, cluster}, nil, "node 2 is a *redis.ClusterClient"},
		"sentinel node":   {[]redis.UniversalClient{a, sentinel, c}, nil, "node 1 is found through sentinels"},
		"ignoring node":   {[]redis.UniversalClient{a, b, hanging}, nil, "node 2: lock: client has redis.Options.ContextTimeoutEnabled false"},
		"bad option, too": {[]redis.UniversalClient{a, b, c}, []lock.Option{lock.WithTTL(1)}, "TTL 1ns"},
		"replicas":        {[]redis.UniversalClient{a, b, c}, []lock.Option{lock.WithWaitReplicas(1, time.Second)}, "Redlock cannot wait"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := lock.NewRedlock(tc.clients, tc.opts...)
			wantRefusal(t, err, tc.want)
		})
	}
}

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	_, err := lock.NewMemory(lock.WithMaxHold(time.Second))
	wantRefusal(t, err, "MaxHold 1s")
	world := must[*lock.Memory](t)(lock.NewMemory())
	t.Cleanup(func() { _ = world.Close() })
	_, err = world.Peer(lock.WithPrefix("{"))
	wantRefusal(t, err, `Prefix "{"`)
}

func wantRefusal(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("error = %v, want it to name %q", err, want)
	}
}
