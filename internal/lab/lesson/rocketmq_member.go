package lesson

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"

	"holdfast/internal/lab/step"
	"holdfast/pkg/mq"
	"holdfast/pkg/wait"
)

// The lesson uses the client library as the course does, without pkg/mq between: its results have queues and offsets.

// tourSendTimeout bounds one send. The library's default is 3 s.
const tourSendTimeout = 2 * time.Second

// tourProducer sends messages to a topic. The library's default puts them into its queues in turn.
type tourProducer struct {
	producer rocketmq.Producer
	topic    string
	sent     int
}

// producer starts a producer, which is shut down at the end of the scene.
func (t *tour) producer(namesrv, topic string) (*tourProducer, error) {
	p, err := rocketmq.NewProducer(
		producer.WithNameServer(primitive.NamesrvAddr{namesrv}), producer.WithGroupName("order-srv"),
		producer.WithInstanceName(fresh("order-srv")), producer.WithRetry(0), producer.WithSendMsgTimeout(tourSendTimeout))
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	t.e.Clean(func(context.Context) error { return p.Shutdown() })
	return &tourProducer{producer: p, topic: topic}, nil
}

// send sends n messages one after the other, each about an order of its own, and returns their offsets by queue.
func (p *tourProducer) send(ctx context.Context, n int) (placed [][]int64, err error) {
	placed = make([][]int64, tourQueues)
	for range n {
		p.sent++
		order := "ORD-" + strconv.Itoa(p.sent)
		r, err := p.producer.SendSync(ctx, primitive.NewMessage(p.topic, []byte(order)).WithKeys([]string{order}))
		if err != nil {
			return nil, err
		}
		if r.Status != primitive.SendOK || r.MessageQueue.QueueId >= tourQueues {
			return nil, fmt.Errorf("send %s: %s", order, r)
		}
		placed[r.MessageQueue.QueueId] = append(placed[r.MessageQueue.QueueId], r.QueueOffset)
	}
	return placed, nil
}

// tourMember is one consumer of a group: to the broker it is a process of its own.
type tourMember struct {
	tour               *tour
	name, group, topic string
	consumer           rocketmq.PushConsumer

	mu       sync.Mutex
	received []received
}

// received is a message with the queue that it came from.
type received struct {
	order string
	queue int
}

func (t *tour) member(name, group, topic string) *tourMember {
	return &tourMember{tour: t, name: name, group: group, topic: topic}
}

// join starts the consumer. It is shut down at the end of the scene if it has not left.
func (m *tourMember) join() (err error) {
	m.consumer, err = rocketmq.NewPushConsumer(
		consumer.WithNameServer(primitive.NamesrvAddr{m.tour.server.NamesrvAddr}), consumer.WithGroupName(m.group),
		consumer.WithInstance(fresh(m.name)), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	if err != nil {
		return err
	}
	if err := m.consumer.Subscribe(m.topic, consumer.MessageSelector{}, m.handle); err != nil {
		return err
	}
	if err := m.consumer.Start(); err != nil {
		return err
	}
	m.tour.e.Clean(func(context.Context) error { return m.leave() })
	return nil
}

// joins is a step in which the member starts and receives at least so many messages.
func (m *tourMember) joins(ask string, messages int) step.Step {
	return step.Step{Label: step.T("rocketmq-tour.joins", m.group), Ask: ask, Do: func(ctx context.Context) (step.Result, error) {
		if err := m.join(); err != nil {
			return step.Result{}, err
		}
		err := m.tour.e.Until(ctx, m.name+" has received its messages", func(context.Context) (bool, error) {
			return len(m.got()) >= messages, nil
		})
		return step.Result{Text: step.T("rocketmq-tour.joins.got", m.group, len(m.got()))}, err
	}}
}

// handle is the consumer's handler.
func (m *tourMember) handle(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, one := range messages {
		m.received = append(m.received, received{one.GetKeys(), one.Queue.QueueId})
	}
	return consumer.ConsumeSuccess, nil
}

// leave shuts the consumer down, which commits its offsets.
func (m *tourMember) leave() error { return m.consumer.Shutdown() }

// got returns what the member has received.
func (m *tourMember) got() []received {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.received)
}

func memberNames(members []*tourMember) string {
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.name
	}
	return strings.Join(names, ", ")
}

// shares waits until the queues are divided evenly among the members, and returns who has which, with the sizes of
// their shares in order. It sends a message to each queue and looks who receives it.
func (t *tour) shares(ctx context.Context, p *tourProducer, members []*tourMember) (lines string, sizes []int, err error) {
	err = t.e.Until(ctx, "the queues are divided", func(ctx context.Context) (bool, error) {
		from := p.sent
		if _, err := p.send(ctx, tourQueues); err != nil {
			return false, err
		}
		var held [][]int
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		err := wait.Until(short, 5*time.Millisecond, func(context.Context) (bool, error) {
			held = queuesOf(members, from)
			return total(held) >= tourQueues, nil
		})
		if err != nil { // a member that leaves has received one of them
			return false, ctx.Err()
		}
		var all []int
		lines, sizes = "", nil
		for i, m := range members {
			sizes, all = append(sizes, len(held[i])), append(all, held[i]...)
			lines += fmt.Sprintf("\n      %s: queues %s", m.name, strings.Trim(fmt.Sprint(held[i]), "[]"))
		}
		slices.Sort(sizes)
		slices.Sort(all)
		known, err := mq.Members(ctx, t.server.NamesrvAddr, members[0].group)
		return len(known) == len(members) && slices.Equal(all, []int{0, 1, 2, 3}) && sizes[len(sizes)-1]-sizes[0] <= 1, err
	})
	return lines, sizes, err
}

// queuesOf returns the queues from which each member has received orders with a number above from.
func queuesOf(members []*tourMember, from int) [][]int {
	held := make([][]int, len(members))
	for i, m := range members {
		for _, r := range m.got() {
			if n, err := strconv.Atoi(strings.TrimPrefix(r.order, "ORD-")); err == nil && n > from {
				held[i] = append(held[i], r.queue)
			}
		}
		slices.Sort(held[i])
		held[i] = slices.Compact(held[i])
	}
	return held
}

func total(held [][]int) (n int) {
	for _, queues := range held {
		n += len(queues)
	}
	return n
}
