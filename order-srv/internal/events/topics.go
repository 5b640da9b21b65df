// Package events names the topics that order-srv sends to and handles the messages that it receives.
package events

import (
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/mq"
)

// Topics are those that order-srv sends to. All have the same number of queues on every installation: where order
// matters the queue is chosen by the key's hash modulo their number.
func Topics() []mq.Topic {
	return []mq.Topic{{Name: orderapi.TopicStockRelease}, {Name: orderapi.TopicOrderTimeout}, {Name: orderapi.TopicOrderEvents}, {Name: orderapi.TopicOrderNotifications}}
}
