package lesson

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"holdfast/internal/dev/stack"
	"holdfast/internal/lab/step"
	"holdfast/pkg/mq"
	"holdfast/pkg/wait"
)

func rocketmqTour() Lesson {
	return Lesson{Name: "rocketmq-tour", Scenes: rocketmqScenes, Messages: true}
}

const (
	tourQueues = 4
	tourFirst  = 8 // messages that are sent first
	tourMore   = 4 // and later
	// announceTopic is created with each new address, see [mq.ConfigureBroker].
	announceTopic = "order-canceled"
	// wrongIP is an address that no machine has: RFC 5737 keeps it for documentation.
	wrongIP = "192.0.2.1"
)

// tour is a RocketMQ of the lesson's own.
type tour struct {
	e      *Env
	server *stack.RocketMQ
	names  map[string]int // of topics and groups: how often each was given
}

func rocketmqScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	if err := stack.RocketMQAvailable(); err != nil {
		return nil, &skipError{step.T("rocketmq-tour.skipped", err)}
	}
	server, err := stack.StartRocketMQ(ctx, stack.Options{Tie: true})
	if err != nil {
		return nil, err
	}
	e.Clean(server.Stop)
	mq.QuietLibrary(slog.New(slog.DiscardHandler))
	t := &tour{e: e, server: server, names: map[string]int{}}
	return []step.Scene{
		e.scene(step.T("rocketmq-tour.names"), t.nameServer),
		e.scene(step.T("rocketmq-tour.groups"), t.groups),
		e.scene(step.T("rocketmq-tour.rebalance", tourQueues), t.rebalance),
		e.scene(step.T("rocketmq-tour.address", wrongIP), t.address),
	}, nil
}

// unused returns the name of a topic or a group that does not exist: a replay of a scene needs another one.
func (t *tour) unused(name string) string {
	t.names[name]++
	if t.names[name] == 1 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, t.names[name])
}

// open creates a topic with messages, and a producer.
func (t *tour) open(ctx context.Context, name string, messages int) (topic string, p *tourProducer, err error) {
	topic = t.unused(name)
	if err := mq.CreateTopic(ctx, t.server.NamesrvAddr, mq.Topic{Name: topic, Queues: tourQueues}); err != nil {
		return "", nil, err
	}
	if p, err = t.producer(t.server.NamesrvAddr, topic); err != nil {
		return "", nil, err
	}
	_, err = p.send(ctx, messages)
	return topic, p, err
}

// queues is a step in which an operator reads the queues of a topic from the broker, when they have all messages that
// were sent: the broker stores a message and answers its sender a moment before it enters the message into its queue.
func (t *tour) queues(topic string, sent int64, got *[]mq.Queue, groups ...string) step.Step {
	return step.Step{Label: step.T("rocketmq-tour.queues"), Do: func(ctx context.Context) (step.Result, error) {
		err := t.e.Until(ctx, fmt.Sprintf("the queues have %d messages", sent), func(ctx context.Context) (_ bool, err error) {
			*got, err = mq.Queues(ctx, t.server.NamesrvAddr, topic, groups...)
			return messages(*got) == sent, err
		})
		return step.Result{Text: step.T("rocketmq-tour.queues.got", queueLines(*got, groups))}, err
	}}
}

// messages returns how many messages the queues have had.
func messages(queues []mq.Queue) (n int64) {
	for _, q := range queues {
		n += q.Max
	}
	return n
}

// queueLines formats queues, one a line: the offsets of the oldest message and of the next one, and those of groups.
func queueLines(queues []mq.Queue, groups []string) string {
	var text strings.Builder
	for _, q := range queues {
		fmt.Fprintf(&text, "\n      %s queue %d: min %d, max %d", q.Broker, q.ID, q.Min, q.Max)
		for _, group := range groups {
			if n, ok := q.Committed[group]; ok {
				fmt.Fprintf(&text, "; %s: offset %d, lag %d", group, n, q.Max-n)
			} else {
				fmt.Fprintf(&text, "; %s: -", group)
			}
		}
	}
	return text.String()
}

// nameServer shows a name server, a broker, a topic and its queues.
func (t *tour) nameServer(context.Context) (*step.Stage, error) {
	topic := t.unused("order-created")
	var brokers map[string]string
	var before, after []mq.Queue
	var placed [][]int64
	var p *tourProducer
	asks := step.Step{Label: step.T("rocketmq-tour.brokers", t.server.NamesrvAddr), Do: func(ctx context.Context) (_ step.Result, err error) {
		brokers, err = mq.Brokers(ctx, t.server.NamesrvAddr)
		return step.Result{Text: step.T("rocketmq-tour.brokers.got", t.server.NamesrvAddr, addresses(brokers))}, err
	}}
	creates := step.Step{Label: step.T("rocketmq-tour.creates", topic, tourQueues), Do: func(ctx context.Context) (_ step.Result, err error) {
		if before, err = mq.Queues(ctx, t.server.NamesrvAddr, topic); err != nil {
			return step.Result{}, err
		}
		err = mq.CreateTopic(ctx, t.server.NamesrvAddr, mq.Topic{Name: topic, Queues: tourQueues})
		return step.Result{Text: step.T("rocketmq-tour.creates.got", topic, len(before), tourQueues)}, err
	}}
	sends := step.Step{Label: step.T("rocketmq-tour.sends", tourFirst), Ask: "rocketmq-tour.sends.ask", Do: func(ctx context.Context) (_ step.Result, err error) {
		if p, err = t.producer(t.server.NamesrvAddr, topic); err != nil {
			return step.Result{}, err
		}
		placed, err = p.send(ctx, tourFirst)
		return step.Result{Text: step.T("rocketmq-tour.sends.got", tourFirst, offsetLines(placed))}, err
	}}
	return &step.Stage{
		Notes: []step.Note{{Text: step.T("lesson.broker", t.server.Name+" "+t.server.Version)}},
		Actors: []*step.Actor{
			{Name: "operator", Steps: []step.Step{asks, creates, t.queues(topic, tourFirst, &after)}},
			{Name: "order-srv", Steps: []step.Step{sends}},
		},
		Order: []string{"operator", "operator", "order-srv", "operator"},
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(len(brokers) == 1 && len(after) == tourQueues && after[0].BrokerAddr == t.server.BrokerAddr, "rocketmq-tour.names.claim")
			end.Check(len(before) == 0 && evenly(after, placed), "rocketmq-tour.queues.claim", tourQueues, tourFirst)
			return nil
		},
	}, nil
}

// evenly reports whether each queue has the same number of messages, at the offsets from 0 that the sender has
// received.
func evenly(queues []mq.Queue, placed [][]int64) bool {
	for _, q := range queues {
		offsets := placed[q.ID]
		if q.Max-q.Min != tourFirst/tourQueues || len(offsets) != tourFirst/tourQueues || offsets[0] != 0 {
			return false
		}
	}
	return len(queues) == tourQueues
}

// offsetLines formats the offsets of sent messages, one line for each queue.
func offsetLines(placed [][]int64) string {
	var text strings.Builder
	for id, offsets := range placed {
		fmt.Fprintf(&text, "\n      queue %d: offsets %s", id, strings.Trim(fmt.Sprint(offsets), "[]"))
	}
	return text.String()
}

// groups shows that each group receives every message, and that the offset belongs to the group.
func (t *tour) groups(ctx context.Context) (*step.Stage, error) {
	topic, p, err := t.open(ctx, "order-paid", tourFirst)
	if err != nil {
		return nil, err
	}
	inventory, points := t.unused("inventory"), t.unused("points")
	first, other, second := t.member("I1", inventory, topic), t.member("P1", points, topic), t.member("I2", inventory, topic)
	var running, ended, waiting []mq.Queue
	leaves := step.Step{Label: step.T("rocketmq-tour.leaves"), Do: func(ctx context.Context) (step.Result, error) {
		if err := first.leave(); err != nil {
			return step.Result{}, err
		}
		// The client sends the offsets and waits for no answer.
		return step.Result{}, t.e.Until(ctx, "the broker has the offsets of the group", func(ctx context.Context) (bool, error) {
			queues, err := mq.Queues(ctx, t.server.NamesrvAddr, topic, inventory)
			return lag(queues, inventory) == 0, err
		})
	}}
	sends := step.Step{Label: step.T("rocketmq-tour.sends", tourMore), Do: func(ctx context.Context) (step.Result, error) {
		_, err := p.send(ctx, tourMore)
		return step.Result{}, err
	}}
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "I1", Steps: []step.Step{first.joins("", tourFirst), leaves}},
			{Name: "P1", Steps: []step.Step{other.joins("rocketmq-tour.points.ask", tourFirst)}},
			{Name: "operator", Steps: []step.Step{
				t.queues(topic, tourFirst, &running, inventory, points), t.queues(topic, tourFirst, &ended, inventory, points),
				t.queues(topic, tourFirst+tourMore, &waiting, inventory),
			}},
			{Name: "order-srv", Steps: []step.Step{sends}},
			{Name: "I2", Steps: []step.Step{second.joins("rocketmq-tour.second.ask", tourMore)}},
		},
		Order: []string{"I1", "P1", "operator", "I1", "operator", "order-srv", "operator", "I2"},
		End: func(ctx context.Context, end *step.Ending) error {
			end.Check(len(first.got()) == tourFirst && len(other.got()) >= tourFirst, "rocketmq-tour.groups.claim", tourFirst)
			end.Check(lag(ended, inventory) == 0 && lag(waiting, inventory) == tourMore, "rocketmq-tour.lag.claim", lag(waiting, inventory))
			err := wait.Sleep(ctx, quiet)
			end.Check(len(second.got()) == tourMore, "rocketmq-tour.offset.claim", tourMore)
			return err
		},
	}, nil
}

// lag returns how many messages a group has not read, -1 if it has no offset in a queue.
func lag(queues []mq.Queue, group string) (n int64) {
	for _, q := range queues {
		committed, ok := q.Committed[group]
		if !ok {
			return -1
		}
		n += q.Max - committed
	}
	return n
}

// rebalance shows which member of a group has which queues, as members join and leave.
func (t *tour) rebalance(ctx context.Context) (*step.Stage, error) {
	topic, p, err := t.open(ctx, "order-closed", 0)
	if err != nil {
		return nil, err
	}
	group := t.unused("inventory-srv")
	var members []*tourMember
	for i := range tourQueues + 1 {
		members = append(members, t.member(fmt.Sprintf("R%d", i+1), group, topic))
	}
	held := map[int][]int{} // numbers of queues of the members, sorted, by the number of members
	join := func(from, to int) step.Step {
		names := memberNames(members[from:to])
		return step.Step{Label: step.T("rocketmq-tour.enter", names), Ask: "rocketmq-tour.enter.ask", Do: func(ctx context.Context) (step.Result, error) {
			for _, m := range members[from:to] {
				if err := m.join(); err != nil {
					return step.Result{}, err
				}
			}
			lines, sizes, err := t.shares(ctx, p, members[:to])
			held[to] = sizes
			return step.Result{Text: step.T("rocketmq-tour.enter.got", names, lines)}, err
		}}
	}
	last := len(members) - 1
	leave := step.Step{Label: step.T("rocketmq-tour.exit", memberNames(members[:last])), Do: func(ctx context.Context) (step.Result, error) {
		for _, m := range members[:last] {
			if err := m.leave(); err != nil {
				return step.Result{}, err
			}
		}
		lines, sizes, err := t.shares(ctx, p, members[last:])
		held[0] = sizes
		return step.Result{Text: step.T("rocketmq-tour.exit.got", memberNames(members[:last]), lines)}, err
	}}
	return &step.Stage{
		Actors: []*step.Actor{{Name: "inventory-srv", Steps: []step.Step{join(0, 1), join(1, 2), join(2, len(members)), leave}}},
		Order:  slices.Repeat([]string{"inventory-srv"}, 4),
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(slices.Equal(held[1], []int{4}) && slices.Equal(held[2], []int{2, 2}), "rocketmq-tour.rebalance.claim")
			end.Check(slices.Equal(held[len(members)], []int{0, 1, 1, 1, 1}), "rocketmq-tour.idle.claim", len(members), tourQueues)
			end.Check(slices.Equal(held[0], []int{4}), "rocketmq-tour.left.claim")
			return nil
		},
	}, nil
}
