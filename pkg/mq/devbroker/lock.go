package devbroker

import (
	"encoding/json"
	"time"
)

// queueName is a queue as requests name it; it is echoed as it came, because clients compare it.
type queueName struct {
	Topic  string `json:"topic"`
	Broker string `json:"brokerName"`
	Queue  int32  `json:"queueId"`
}

type lockedQueue struct {
	group string
	queueName
}

// lease is an ordered queue's owner. It outlives the owner's connection, as RocketMQ's does.
type lease struct {
	client string
	until  time.Time
}

// lockQueues gives ordered queues to a client, or renews or takes back what it has.
func (b *Broker) lockQueues(lock bool, body []byte) (reply, error) {
	var in struct {
		Group  string      `json:"consumerGroup"`
		Client string      `json:"clientId"`
		Queues []queueName `json:"mqSet"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return reply{}, refuse(systemError, "lock request is not JSON: %v", err)
	}
	now := time.Now()
	granted := []queueName{} // an empty list, not null
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, q := range in.Queues {
		key := lockedQueue{in.Group, q}
		held, ok := b.locks[key]
		others := ok && held.client != in.Client && now.Before(held.until)
		switch {
		case others:
		case lock:
			b.locks[key] = lease{in.Client, now.Add(b.o.LockLease)}
			granted = append(granted, q)
		default:
			delete(b.locks, key)
		}
	}
	if !lock {
		return reply{}, nil
	}
	return jsonReply(map[string]any{"lockOKMQSet": granted})
}
