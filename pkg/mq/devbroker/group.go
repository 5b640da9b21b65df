package devbroker

import (
	"encoding/json"
	"maps"
	"slices"
)

// heartbeat registers the groups of a connection. It lists all of them: a connection leaves a group that is missing.
// The broker notifies a group that got or lost a member, so that its members share the queues anew at once.
func (b *Broker) heartbeat(c *conn, body []byte) (reply, error) {
	type group struct {
		Name string `json:"groupName"`
	}
	var beat struct {
		Client    string  `json:"clientID"`
		Producers []group `json:"producerDataSet"`
		Consumers []group `json:"consumerDataSet"`
	}
	if err := json.Unmarshal(body, &beat); err != nil || beat.Client == "" {
		return reply{}, refuse(systemError, "heartbeat without a client or not JSON: %v", err)
	}
	names := func(groups []group) (list []string) {
		for _, g := range groups {
			if len(retryPrefix+g.Name) <= maxName && g.Name != "" {
				list = append(list, g.Name)
			}
		}
		return list
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.register(c, beat.Client, names(beat.Producers), names(beat.Consumers))
	return reply{}, nil
}

// register replaces what is known about c.
func (b *Broker) register(c *conn, client string, producers, consumers []string) {
	for _, g := range c.producers {
		delete(b.asked[g], c)
	}
	for _, g := range producers {
		if b.asked[g] == nil {
			b.asked[g] = make(map[*conn]bool)
		}
		b.asked[g][c] = true
	}
	for _, g := range c.consumers {
		if b.groups[g][c.client] == c && (!slices.Contains(consumers, g) || client != c.client) {
			delete(b.groups[g], c.client)
			b.tellGroup(g)
		}
	}
	c.client, c.producers, c.consumers = client, producers, consumers
	for _, g := range consumers {
		b.ensureTopic(retryPrefix+g, 1)
		if b.groups[g] == nil {
			b.groups[g] = make(map[string]*conn)
		}
		before := b.groups[g][client]
		b.groups[g][client] = c
		if before == nil {
			b.tellGroup(g)
		}
	}
}

// forget drops a connection that has ended.
func (b *Broker) forget(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.register(c, c.client, nil, nil)
}

// tellGroup tells the members of a consumer group that there are others now.
func (b *Broker) tellGroup(group string) {
	for _, c := range b.groups[group] {
		c.notify(frame{header: header{
			Code: reqGroupChanged, Flag: flagOneWay, Fields: map[string]string{"consumerGroup": group},
		}})
	}
}

// unregister removes a member, as Java clients do when they stop. It notifies the group even when the connection has no
// such member: RocketMQ does so, and pkg/mq depends on it.
func (b *Broker) unregister(c *conn, in *fields) (reply, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	without := func(list []string, name string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(g string) bool { return g == name })
	}
	group := in.text("consumerGroup")
	member := slices.Contains(c.consumers, group)
	b.register(c, c.client, without(c.producers, in.text("producerGroup")), without(c.consumers, group))
	if !member {
		b.tellGroup(group)
	}
	return reply{}, nil
}

func (b *Broker) consumerList(in *fields) (reply, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	members := slices.Sorted(maps.Keys(b.groups[in.text("consumerGroup")]))
	if len(members) == 0 {
		return reply{}, refuse(systemError, "no consumer for this group, %s", in.text("consumerGroup"))
	}
	return jsonReply(map[string]any{"consumerIdList": members})
}
