package devbroker_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/pkg/mq/devbroker"
)

func TestBroker_faultsOnDelivery(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]struct {
		inject func(b *devbroker.Broker)
		want   []string
	}{
		"drop":      {func(b *devbroker.Broker) { b.Drop("t", 2) }, []string{"3"}},
		"duplicate": {func(b *devbroker.Broker) { b.Duplicate("t", 1) }, []string{"1", "1", "2", "3"}},
		"delay":     {func(b *devbroker.Broker) { b.Delay("t", 1, 100*time.Millisecond) }, []string{"2", "3", "1"}},
		"reorder":   {func(b *devbroker.Broker) { b.Reorder("t", 2) }, []string{"2", "1", "3"}},
		"other":     {func(b *devbroker.Broker) { b.Drop("u", 1) }, []string{"1", "2", "3"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, devbroker.Options{})
			c := dial(t, b)
			c.topic("t", 1)
			f.inject(b)
			for _, body := range []string{"1", "2", "3"} {
				if a := c.send("t", body, ""); a.Code != 0 {
					t.Fatalf("a sender must not notice: code %d", a.Code)
				}
			}
			if diff := cmp.Diff(f.want, c.bodies("t", len(f.want))); diff != "" {
				t.Error(diff)
			}
			if a, _ := c.pull("t", len(f.want), 50*time.Millisecond); a.Code != 19 {
				t.Errorf("more came: code %d", a.Code)
			}
		})
	}
}

func TestBroker_Heal(t *testing.T) {
	t.Parallel()
	b := start(t, devbroker.Options{})
	c := dial(t, b)
	c.topic("t", 1)
	b.Reorder("t", 5)
	b.RefuseSends("t", 1, 2)
	if a := c.send("t", "refused", ""); a.Code != 2 {
		t.Errorf("code %d, want 2", a.Code)
	}
	c.send("t", "1", "")
	c.send("t", "2", "")
	b.Drop("t", 1)
	b.LoseEnds(1)
	b.LoseAnswers(10, 1)
	b.Heal()
	c.send("t", "3", "")
	if diff := cmp.Diff([]string{"2", "1", "3"}, c.bodies("t", 3)); diff != "" {
		t.Error(diff)
	}
}

func TestBroker_LoseAnswers(t *testing.T) {
	t.Parallel()
	b := start(t, devbroker.Options{})
	c := dial(t, b)
	c.topic("t", 1)
	b.LoseAnswers(10, 1)
	c.post(10, 0, ext{"topic": "t", "queueId": "0"}, []byte("stored"))
	if a := c.send("t", "answered", ""); a.Opaque != c.last {
		t.Errorf("answer to request %d, want %d", a.Opaque, c.last)
	}
	if diff := cmp.Diff([]string{"stored", "answered"}, c.bodies("t", 2)); diff != "" {
		t.Error(diff)
	}
}

func TestBroker_Disconnect(t *testing.T) {
	t.Parallel()
	b := start(t, devbroker.Options{})
	c := dial(t, b)
	c.topic("t", 1)
	b.Disconnect()
	if _, ok := c.next(5 * time.Second); ok {
		t.Error("the connection lives")
	}
	if a := dial(t, b).send("t", "again", ""); a.Code != 0 {
		t.Errorf("code %d after a new connection", a.Code)
	}
}
