package lesson

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// redisMonitor reads what a Redis server executes, from its command MONITOR. It belongs to a server of the lesson's
// own: on a shared one MONITOR would slow down all clients.
type redisMonitor struct {
	client *redis.Client // sends the marks

	mu   sync.Mutex
	seen []executed
}

// executed is a command that the server has executed.
type executed struct {
	script bool     // a script has called it
	words  []string // the verb is in upper case
}

// monitorLine is a line of MONITOR: the time, the database with the client's address or "lua", and the words in quotes.
var monitorLine = regexp.MustCompile(`^\+[\d.]+ \[\d+ ([^\]]+)\] (.*)$`)

var monitorWord = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)

// monitor starts MONITOR on the server. It ends with the scene.
func (e *Env) monitor(ctx context.Context, addr string) (*redisMonitor, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	m := &redisMonitor{client: e.Client(addr)}
	ended := make(chan struct{})
	e.Clean(func(context.Context) error {
		err := conn.Close()
		<-ended
		return err
	})
	if _, err := fmt.Fprint(conn, "MONITOR\r\n"); err != nil {
		close(ended)
		return nil, err
	}
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			m.add(lines.Text())
		}
	}()
	return m, e.Until(ctx, "MONITOR has begun", func(ctx context.Context) (bool, error) {
		err := m.client.Echo(ctx, "begun").Err()
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.seen) > 0, err
	})
}

func (m *redisMonitor) add(line string) {
	found := monitorLine.FindStringSubmatch(line)
	if found == nil {
		return // the answer to MONITOR
	}
	c := executed{script: found[1] == "lua"}
	for _, word := range monitorWord.FindAllStringSubmatch(found[2], -1) {
		c.words = append(c.words, word[1])
	}
	if len(c.words) == 0 {
		return
	}
	c.words[0] = strings.ToUpper(c.words[0])
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = append(m.seen, c)
}

// mark sends a command with a new word and returns its place among the executed commands. The server reports commands
// in the order in which it executes them, so all earlier ones have been read.
func (m *redisMonitor) mark(ctx context.Context, e *Env) (place int, err error) {
	word := rand.Text()
	if err := m.client.Echo(ctx, word).Err(); err != nil {
		return 0, err
	}
	err = e.Until(ctx, "MONITOR reports the last command", func(context.Context) (bool, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		place = slices.IndexFunc(m.seen, func(c executed) bool { return len(c.words) == 2 && c.words[1] == word })
		return place >= 0, nil
	})
	return place, err
}

// between returns the commands with the key from one place to another.
func (m *redisMonitor) between(from, to int, key string) []executed {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(m.seen[from:to]), func(c executed) bool { return !slices.Contains(c.words, key) })
}

// count counts the commands with a verb, sent by clients or called by scripts.
func count(commands []executed, script bool, verbs ...string) int {
	n := 0
	for _, c := range commands {
		if c.script == script && slices.Contains(verbs, c.words[0]) {
			n++
		}
	}
	return n
}

// callers is a hook of a Redis client. It records which functions of a library send each command with a key.
type callers struct {
	library string // part of the names of its functions
	key     string // other commands, such as those that open a connection, are not recorded

	mu   sync.Mutex
	sent []sent
}

// sent is a command with its callers in the library, the innermost first.
type sent struct {
	verb    string
	callers []string // "function (file:line)"
}

var _ redis.Hook = (*callers)(nil)

// DialHook implements redis.Hook.
func (c *callers) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook implements redis.Hook.
func (c *callers) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook implements redis.Hook. The library sends each command in the goroutine of its own function.
func (c *callers) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if slices.Contains(cmd.Args(), any(c.key)) {
			s := sent{verb: strings.ToUpper(cmd.Name()), callers: c.stack()}
			c.mu.Lock()
			c.sent = append(c.sent, s)
			c.mu.Unlock()
		}
		return next(ctx, cmd)
	}
}

// stack returns the library's functions on the stack. A function literal counts as the function that contains it.
func (c *callers) stack() (names []string) {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for more := true; more; {
		var f runtime.Frame
		if f, more = frames.Next(); !strings.Contains(f.Function, c.library) {
			continue
		}
		function, _, literal := strings.Cut(f.Function[strings.LastIndex(f.Function, ")")+2:], ".")
		if literal && function == "actOnPoolsAsync" {
			continue // starts the goroutines
		}
		names = append(names, fmt.Sprintf("%s (%s:%d)", function, path.Base(f.File), f.Line))
	}
	return names
}

// take returns the commands since the last call.
func (c *callers) take() []sent {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.sent
	c.sent = nil
	return taken
}
