package mq

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"regexp"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is what a [Bus] needs to know.
type Config struct {
	Namesrv []string // name servers as host:port, host names allowed; required

	// Namespace keeps several installations on one broker apart: it is put before every topic and group. Default none.
	Namespace string

	// Instance names this process to the broker. It must be unique per process and should be the same after a restart: a
	// stranger has to wait a minute for the ordered queues that its predecessor held. Default: a new one each time.
	Instance string

	// Topics that are sent to or subscribed to. Those missing are created by Start; those that exist are left alone.
	Topics []Topic

	Log        *slog.Logger          // default slog.Default()
	Registerer prometheus.Registerer // default a registry that is not exported
}

// Limits and defaults of the broker's and the client library's formats.
const (
	defaultQueues = 4
	maxQueues     = 1024
	maxNameLength = 127 // the client library reads a topic's length as one byte, the broker stops here
)

// Name prefixes that the broker itself gives to a group's own topics.
const (
	retryPrefix      = "%RETRY%"
	deadLetterPrefix = "%DLQ%"
)

var (
	namePattern     = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)
	instancePattern = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)
	storePattern    = regexp.MustCompile(`-[0-9]+$`) // storeSuffix
)

// DeadLetterTopic names the topic in which a consumer group's dead letters lie. It can be subscribed to like any other
// and needs no entry in Config.Topics; [HeaderOriginTopic] of its messages says where they came from.
func DeadLetterTopic(group string) string { return deadLetterPrefix + group }

// HeaderOriginTopic is set on messages received from a [DeadLetterTopic]: the topic they were sent to.
const HeaderOriginTopic = "origin_topic"

func (c Config) validate() error {
	var faults []error
	if len(c.Namesrv) == 0 {
		faults = append(faults, errors.New("no name server address"))
	}
	for _, a := range c.Namesrv {
		if host, port, err := net.SplitHostPort(a); err != nil || host == "" || port == "" {
			faults = append(faults, fmt.Errorf("name server %q is not host:port", a))
		}
	}
	if c.Namespace != "" && !namePattern.MatchString(c.Namespace) {
		faults = append(faults, fmt.Errorf("namespace %q has other characters than A-Z a-z 0-9 _ -", c.Namespace))
	}
	if c.Instance != "" && !instancePattern.MatchString(c.Instance) {
		faults = append(faults, fmt.Errorf("instance %q has other characters than A-Z a-z 0-9 . _ -", c.Instance))
	}
	seen := make(map[string]bool)
	for _, t := range c.Topics {
		if err := c.names().check(t.Name); err != nil {
			faults = append(faults, err)
		}
		if t.Queues < 0 || t.Queues > maxQueues {
			faults = append(faults, fmt.Errorf("topic %s: %d queues; 1 to %d are possible", t.Name, t.Queues, maxQueues))
		}
		if seen[t.Name] {
			faults = append(faults, fmt.Errorf("topic %s is listed twice", t.Name))
		}
		seen[t.Name] = true
	}
	return errors.Join(faults...)
}

// withDefaults returns c with its zero values replaced.
func (c Config) withDefaults() Config {
	if c.Instance == "" {
		c.Instance = fmt.Sprintf("%d-%s", os.Getpid(), rand.Text())
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Registerer == nil {
		c.Registerer = prometheus.NewRegistry()
	}
	topics := make([]Topic, 0, len(c.Topics))
	for _, t := range c.Topics {
		if t.Queues == 0 {
			t.Queues = defaultQueues
		}
		topics = append(topics, t)
	}
	c.Topics = topics
	return c
}

func (c Config) names() names {
	if c.Namespace == "" {
		return names{}
	}
	return names{prefix: c.Namespace + "-"}
}

// names translates between our names and the broker's. The client library has a namespace of its own, which its
// check-back does not know, so it is not used.
type names struct{ prefix string }

// full returns the broker's name of a topic or group, without a store's identity. A group's own topics keep the
// broker's prefix in front.
func (n names) full(name string) string {
	for _, p := range []string{retryPrefix, deadLetterPrefix} {
		if rest, ok := strings.CutPrefix(name, p); ok {
			return p + n.prefix + rest
		}
	}
	return n.prefix + name
}

// ofStore returns the broker's name of a consumer group, or of a group's own topic, in a store.
func (n names) ofStore(name string, store int64) string { return n.full(name) + storeSuffix(store) }

// plain undoes full for a topic, and ofStore for a group's own topic.
func (n names) plain(name string) string {
	for _, p := range []string{retryPrefix, deadLetterPrefix} {
		if rest, ok := strings.CutPrefix(name, p); ok {
			return p + storePattern.ReplaceAllString(strings.TrimPrefix(rest, n.prefix), "")
		}
	}
	return strings.TrimPrefix(name, n.prefix)
}

// check reports what is wrong with a topic's or group's name. A group must fit between the longest prefix and the
// longest identity of a store as well.
func (n names) check(name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("name %q is empty or has other characters than A-Z a-z 0-9 _ -", name)
	}
	if l := len(retryPrefix + n.ofStore(name, math.MaxInt64)); l > maxNameLength {
		return fmt.Errorf("name %q is too long by %d with its prefixes", name, l-maxNameLength)
	}
	return nil
}
