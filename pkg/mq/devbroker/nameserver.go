package devbroker

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"
)

const (
	brokerName  = "development-broker"
	clusterName = "development"
	masterID    = "0"
	readWrite   = 6

	maxQueues = 1024
	maxName   = 127 // bytes; the length is one byte in a message, signed in some clients
)

var topicPattern = regexp.MustCompile(`^[%|a-zA-Z0-9_-]+$`)

type brokerData struct {
	Addrs   map[string]string `json:"brokerAddrs"`
	Name    string            `json:"brokerName"`
	Cluster string            `json:"cluster"`
}

type queueData struct {
	Broker string `json:"brokerName"`
	Perm   int    `json:"perm"`
	Read   int    `json:"readQueueNums"`
	Write  int    `json:"writeQueueNums"`
	Flag   int    `json:"topicSysFlag"`
}

// lookUp answers a name server's questions.
func (b *Broker) lookUp(c *conn, code int16, in *fields) (reply, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	self := brokerData{Addrs: map[string]string{masterID: cmp.Or(b.advertised, c.local())}, Name: brokerName, Cluster: clusterName}
	switch code {
	case reqCluster:
		return jsonReply(map[string]any{
			"brokerAddrTable":  map[string]brokerData{brokerName: self},
			"clusterAddrTable": map[string][]string{clusterName: {brokerName}},
		})
	case reqTopics:
		return jsonReply(map[string]any{"topicList": slices.Sorted(maps.Keys(b.topics)), "brokerAddr": ""})
	case reqGroups:
		return jsonReply(map[string]any{"subscriptionGroupTable": map[string]any{}, "dataVersion": map[string]any{}})
	}
	t := b.topics[in.text("topic")]
	if t == nil {
		return reply{}, refuse(noTopic, "No topic route info in name server for the topic: %s", in.text("topic"))
	}
	return jsonReply(map[string]any{
		"brokerDatas": []brokerData{self},
		"queueDatas":  []queueData{{Broker: brokerName, Perm: readWrite, Read: len(t.queues), Write: t.write}},
	})
}

// createTopic creates a topic, or gives an existing one another number of queues. Queues with messages never go away.
func (b *Broker) createTopic(in *fields) (reply, error) {
	name, n := in.text("topic"), int(in.small("writeQueueNums", 4))
	if in.err != nil {
		return reply{}, in.err
	}
	if len(name) > maxName || !topicPattern.MatchString(name) {
		return reply{}, refuse(systemError, "the topic %q is illegal: up to %d of %%|a-zA-Z0-9_-", name, maxName)
	}
	if name == "TBW102" || strings.HasPrefix(name, "RMQ_SYS_") || name == parkedTopic {
		return reply{}, refuse(systemError, "the topic %s is the broker's own", name)
	}
	if n < 1 || n > maxQueues {
		return reply{}, refuse(systemError, "topic %s: %d queues; 1 to %d are possible", name, n, maxQueues)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ensureTopic(name, n).resize(n)
	return reply{}, nil
}

// topicConfig answers with what a topic was created with.
func (b *Broker) topicConfig(in *fields) (reply, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.topics[in.text("topic")]
	if t == nil {
		return reply{}, refuse(noTopic, "No topic in this broker. topic: %s", in.text("topic"))
	}
	return jsonReply(map[string]any{"topicName": t.name, "perm": readWrite, "readQueueNums": len(t.queues), "writeQueueNums": t.write})
}

func (b *Broker) deleteTopic(in *fields) (reply, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.topics[in.text("topic")]
	if t == nil {
		return reply{}, nil
	}
	delete(b.topics, t.name)
	for _, q := range t.queues {
		for _, m := range q.messages {
			delete(b.byPos, m.pos)
		}
		q.wake()
	}
	maps.DeleteFunc(b.offset, func(c cursor, _ int64) bool { return c.topic == t.name })
	return reply{}, nil
}
