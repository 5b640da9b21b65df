package lesson

import (
	"context"
	"slices"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/lab/step"
)

// streamCheck checks on a real server what the table says about Redis Streams: an acknowledged message can be read
// again, one whose consumer has died waits until another one claims it, and a group has no order by key.
type streamCheck struct {
	e      *Env
	client *redis.Client
	stream string

	ids     []string            // of the messages, in their order
	read    map[string][]string // by consumer
	waiting int64               // messages that were read and not acknowledged
	claimed []string
	again   int // messages that were read from the stream's start
}

// streamGroup is the consumer group.
const streamGroup = "inventory"

func newStreamCheck(e *Env, client *redis.Client) *streamCheck {
	return &streamCheck{e: e, client: client, stream: e.Key(fresh("orders")), read: map[string][]string{}}
}

func (s *streamCheck) stage() *step.Stage {
	says := func(key, statement string, do func(context.Context) (step.Result, error)) step.Step {
		return step.Step{Label: step.T("choosing-an-mq." + key), Statement: statement, Do: do}
	}
	reads := func(name string) step.Step {
		return says("reads", "XREADGROUP GROUP inventory "+name+" COUNT 1 STREAMS orders >", func(ctx context.Context) (step.Result, error) {
			return s.next(ctx, name)
		})
	}
	claims := says("claims", "XAUTOCLAIM orders inventory C2 0 0", s.claim)
	claims.Ask = "choosing-an-mq.claims.ask"
	c2 := []step.Step{
		reads("C2"), reads("C2"), says("acks", "XACK orders inventory …", s.acknowledge), reads("C2"), claims, says("replays", "XRANGE orders - +", s.replay),
	}
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "order-srv", Steps: []step.Step{says("adds", "XADD orders * order ORD-1 status …", s.add)}},
			{Name: "C1", Steps: []step.Step{reads("C1")}},
			{Name: "C2", Steps: c2},
		},
		Order: []string{"order-srv", "C1", "C2", "C2", "C2", "C2", "C2", "C2"},
		Look:  []step.Looker{s.e.lookKeys(s.client, s.stream)},
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(slices.Equal(s.read["C1"], s.ids[:1]) && slices.Equal(s.read["C2"], s.ids[1:]), "choosing-an-mq.order.claim")
			end.Check(s.waiting == 1 && slices.Equal(s.claimed, s.ids[:1]), "choosing-an-mq.pending.claim")
			end.Check(s.again == len(s.ids), "choosing-an-mq.replay.claim", s.again)
			return nil
		},
	}
}

// add creates the group and adds what happens to an order.
func (s *streamCheck) add(ctx context.Context) (step.Result, error) {
	if err := s.client.XGroupCreateMkStream(ctx, s.stream, streamGroup, "0").Err(); err != nil {
		return step.Result{}, err
	}
	for _, status := range history() {
		id, err := s.client.XAdd(ctx, &redis.XAddArgs{Stream: s.stream, Values: []string{"order", "ORD-1", "status", status}}).Result()
		if err != nil {
			return step.Result{}, err
		}
		s.ids = append(s.ids, id)
	}
	return step.Result{}, nil
}

// next reads a message that the group has not read yet.
func (s *streamCheck) next(ctx context.Context, consumer string) (step.Result, error) {
	batch, err := s.client.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: streamGroup, Consumer: consumer, Streams: []string{s.stream, ">"}, Count: 1, Block: -1, // does not wait
	}).Result()
	if err == redis.Nil { //nolint:errorlint // the client returns the value itself
		return step.Result{Text: step.T("choosing-an-mq.reads.none")}, nil
	}
	if err != nil {
		return step.Result{}, err
	}
	one := batch[0].Messages[0]
	s.read[consumer] = append(s.read[consumer], one.ID)
	return step.Result{Text: step.T("choosing-an-mq.reads.got", one.Values["status"])}, nil
}

func (s *streamCheck) acknowledge(ctx context.Context) (step.Result, error) {
	return step.Result{}, s.client.XAck(ctx, s.stream, streamGroup, s.read["C2"]...).Err()
}

// claim takes over what other consumers have read and not acknowledged.
func (s *streamCheck) claim(ctx context.Context) (step.Result, error) {
	pending, err := s.client.XPending(ctx, s.stream, streamGroup).Result()
	if err != nil {
		return step.Result{}, err
	}
	s.waiting = pending.Count
	messages, _, err := s.client.XAutoClaim(ctx, &redis.XAutoClaimArgs{Stream: s.stream, Group: streamGroup, Consumer: "C2", Start: "0"}).Result()
	for _, m := range messages {
		s.claimed = append(s.claimed, m.ID)
	}
	return step.Result{Text: step.T("choosing-an-mq.claims.got", s.waiting, len(s.claimed))}, err
}

func (s *streamCheck) replay(ctx context.Context) (step.Result, error) {
	all, err := s.client.XRange(ctx, s.stream, "-", "+").Result()
	s.again = len(all)
	return step.Result{Text: step.T("choosing-an-mq.replays.got", s.again)}, err
}
