package stack_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/stack"
)

func TestStartBroker_development(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	addr, name, stop, err := stack.StartBroker(t.Context(), stack.BrokerDev, stack.Options{Log: &said})
	if err != nil {
		t.Fatal(err)
	}
	reachable(t, addr, true)
	if out := name + said.String(); strings.Contains(out, "RocketMQ") || !strings.Contains(out, "development broker") {
		t.Errorf("it is called %q and says %q", name, said.String())
	}
	if err := stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	reachable(t, addr, false)
}

func TestStartBroker_unknown(t *testing.T) {
	t.Parallel()
	_, _, _, err := stack.StartBroker(t.Context(), "kafka", stack.Options{})
	if err == nil || !strings.Contains(err.Error(), "auto, rocketmq, devbroker") {
		t.Errorf("error = %v, want one that names the choices", err)
	}
}

// The command prints its differences from RocketMQ first, and ends when its context is done.
func TestRunDevBroker(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var out bytes.Buffer
	if err := stack.RunDevBroker(ctx, "127.0.0.1:0", &out); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "development broker on 127.0.0.1:") || strings.Count(out.String(), "\n") < 3 {
		t.Errorf("output = %q", out.String())
	}
}
