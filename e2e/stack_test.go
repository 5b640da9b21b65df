package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
)

// TestStack uses a stack like `holdfast up` and `down`, beside other stacks on this machine. Each process in turn is
// killed and repaired by Up, the number of replicas grows and shrinks, and after Down and Up all orders and all stock
// are present although the broker lost its data. After each step an order can be placed and the audit is clean.
func TestStack(t *testing.T) {
	t.Parallel()
	stacktest.SkipIfShort(t, "MySQL, Redis and RocketMQ")
	s := newWholeStack(t)
	s.up(1)
	s.order()
	for _, c := range s.state().Components {
		if err := kill(c.PID); err != nil {
			t.Fatalf("kill %s: %v", c.Name, err)
		}
		s.wantUp(false, "after "+c.Name+" was killed")
		out := s.up(1)
		if now, _ := s.component(c.Name); now.PID == c.PID {
			t.Errorf("%s is still the killed process:\n%s", c.Name, out)
		}
		s.order()
	}

	out := s.up(2)
	s.wantParts(14)
	if !strings.Contains(out, "order-srv-2") || strings.Count(out, "because the addresses of its peers changed") != 2 {
		t.Errorf("the order-srv and the gateway that ran have to learn of the new replicas:\n%s", out)
	}
	s.order()
	if out := s.up(2); strings.Contains(out, "stopped") || strings.Count(out, " runs ") != 14 {
		t.Errorf("the second time there is nothing to do:\n%s", out)
	}
	if out := s.up(1); strings.Count(out, "surplus replica") != 4 {
		t.Errorf("four replicas are too many:\n%s", out)
	}
	s.wantParts(10)
	s.order()

	before := s.holdfast("audit")
	s.down()
	for _, broker := range []string{"rocketmq", "devbroker"} {
		if err := os.RemoveAll(filepath.Join(s.dir, broker)); err != nil {
			t.Fatal(err)
		}
	}
	s.up(1)
	if after := s.holdfast("audit"); after != before {
		t.Errorf("after down and up the audit says\n%s\nand before it said\n%s", after, before)
	}
	s.order()
	s.holdfast("audit", "--expect-sales")
}

// wholeStack is a stack on ports of its own. It ends with the test process.
type wholeStack struct {
	t       *testing.T
	options stack.UpOptions
	dir     string
	bin     string
	orders  int
}

func newWholeStack(t *testing.T) *wholeStack {
	t.Helper()
	bin, err := ordinary.build()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &wholeStack{t: t, dir: dir, bin: bin, options: stack.UpOptions{
		Dir: dir, Bin: bin, Broker: os.Getenv("BROKER"), Ports: stacktest.Ports(t), Tie: true,
	}}
	t.Cleanup(s.down)
	return s
}

// up starts the stack and returns the output.
func (s *wholeStack) up(replicas int) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	begin := time.Now()
	defer func() { s.t.Logf("up took %v", time.Since(begin).Round(10*time.Millisecond)) }()
	var out bytes.Buffer
	s.options.Replicas, s.options.Progress = replicas, &out
	if err := stack.Up(ctx, s.options); err != nil {
		s.t.Fatalf("up: %v\n%s", err, out.String())
	}
	s.wantUp(true, "after up")
	return out.String()
}

func (s *wholeStack) down() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	if err := stack.Down(ctx, s.dir, &out); err != nil {
		s.t.Errorf("down: %v\n%s", err, out.String())
	}
}

func (s *wholeStack) state() stack.State {
	s.t.Helper()
	state, err := stack.Load(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	return state
}

func (s *wholeStack) component(name string) (stack.Component, bool) {
	for _, c := range s.state().Components {
		if c.Name == name {
			return c, true
		}
	}
	return stack.Component{}, false
}

func (s *wholeStack) wantUp(want bool, when string) {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); s.state().Up(context.Background()) != want; {
		if time.Now().After(end) {
			s.t.Fatalf("%s the stack is up: %v\n%s", when, !want, s.parts())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// parts describes the parts, with the end of the log of each part that does not run.
func (s *wholeStack) parts() string {
	s.t.Helper()
	var out strings.Builder
	for _, c := range s.state().Components {
		state := c.State(context.Background())
		fmt.Fprintf(&out, "%s %s\n", c.Name, state)
		if state != "runs" {
			fmt.Fprintln(&out, stack.Tail(c.Log, 10))
		}
	}
	return out.String()
}

func (s *wholeStack) wantParts(n int) {
	s.t.Helper()
	if got := len(s.state().Components); got != n {
		s.t.Errorf("%d parts, want %d: %+v", got, n, s.state().Components)
	}
}

// order places an order and checks that all orders so far exist.
func (s *wholeStack) order() {
	s.t.Helper()
	s.holdfast("order", "--sku", "MUG-CLASSIC")
	s.orders++
	counts := regexp.MustCompile(`(?m)^orders: (.*)$`).FindStringSubmatch(s.holdfast("audit"))
	if want := fmt.Sprintf("PLACED %d", s.orders); len(counts) != 2 || counts[1] != want {
		s.t.Errorf("orders: %v, want %s", counts, want)
	}
}

func (s *wholeStack) holdfast(args ...string) string {
	s.t.Helper()
	url := fmt.Sprintf("http://127.0.0.1:%d", s.options.Ports.Gateway)
	out, err := exec.Command(filepath.Join(s.bin, "holdfast"), append([]string{"--dir", s.dir, "--url", url}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("holdfast %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
