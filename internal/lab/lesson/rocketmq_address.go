package lesson

import (
	"context"
	"fmt"
	"strings"
	"time"

	"holdfast/internal/lab/step"
	"holdfast/pkg/mq"
)

// address shows a broker that announces an address at which no client reaches it.
func (t *tour) address(context.Context) (*step.Stage, error) {
	var wrong, right map[string]string
	var failed, sent error
	sets := func(ip string, got *map[string]string) step.Step {
		return step.Step{Label: step.T("rocketmq-tour.sets", ip), Do: func(ctx context.Context) (_ step.Result, err error) {
			*got, err = t.announce(ctx, ip)
			return step.Result{Text: step.T("rocketmq-tour.sets.got", ip, addresses(*got))}, err
		}}
	}
	sends := func(ask string, got *error) step.Step {
		return step.Step{Label: step.T("rocketmq-tour.send"), Ask: ask, Do: func(ctx context.Context) (step.Result, error) {
			p, err := t.producer(t.server.NamesrvAddr, t.announced())
			if err != nil {
				return step.Result{}, err
			}
			start := time.Now()
			if _, *got = p.send(ctx, 1); *got == nil {
				return step.Result{Text: step.T("rocketmq-tour.send.done")}, nil
			}
			return step.Result{Text: step.T("rocketmq-tour.send.got", rounded(time.Since(start)), *got)}, nil
		}}
	}
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "operator", Steps: []step.Step{sets(wrongIP, &wrong), sets("127.0.0.1", &right)}},
			{Name: "order-srv", Steps: []step.Step{sends("rocketmq-tour.send.ask", &failed), sends("", &sent)}},
		},
		Order: []string{"operator", "order-srv", "operator", "order-srv"},
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(len(wrong) == 1 && failed != nil, "rocketmq-tour.address.claim", wrongIP)
			end.Check(len(right) == 1 && sent == nil, "rocketmq-tour.address.cure")
			return nil
		},
	}, nil
}

// announced returns the topic that the last announce has created.
func (t *tour) announced() string {
	if n := t.names[announceTopic]; n > 1 {
		return fmt.Sprintf("%s-%d", announceTopic, n)
	}
	return announceTopic
}

// announce changes the address that the broker announces, and returns the brokers that the name server knows then.
func (t *tour) announce(ctx context.Context, ip string) (brokers map[string]string, err error) {
	topic := mq.Topic{Name: t.unused(announceTopic), Queues: 1}
	if err := mq.ConfigureBroker(ctx, t.server.BrokerAddr, "brokerIP1="+ip, topic); err != nil {
		return nil, err
	}
	err = t.e.Until(ctx, "the name server has the broker's address "+ip, func(ctx context.Context) (bool, error) {
		if brokers, err = mq.Brokers(ctx, t.server.NamesrvAddr); err != nil {
			return false, err
		}
		for _, addr := range brokers {
			if !strings.HasPrefix(addr, ip+":") {
				return false, nil
			}
		}
		return true, nil
	})
	return brokers, err
}

// addresses formats brokers with their addresses.
func addresses(brokers map[string]string) string {
	return strings.TrimPrefix(fmt.Sprint(brokers), "map")
}
