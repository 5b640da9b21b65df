// Package devbroker is the development broker: a server in this process, or in one of its own, that speaks enough of
// RocketMQ's remoting protocol for the real client library to work against it. It starts in milliseconds, keeps
// everything in memory, and injects faults: [Broker.Drop], [Broker.Duplicate], [Broker.Delay], [Broker.Reorder],
// [Broker.Disconnect] and others.
//
// It is for development and tests without Java. [Differences] lists how it differs from RocketMQ. Acknowledged messages
// are lost with the process.
//
// One mutex guards all state, and nothing is written to a connection or waited for under it. Three kinds of goroutines
// exist: the two of a connection (read and write), one for each pull that is held open, and the clock, which delivers
// delayed messages and asks about open transactions. [Broker.Close] ends and waits for all of them.
package devbroker

// Differences says, a sentence each, in what this broker differs from RocketMQ as this project runs it.
func Differences() []string {
	return []string{
		"Messages, offsets and open transactions are in memory: Kill and Restart keep them.",
		"The end of the process loses them, and the topics, as the loss of its disk does to RocketMQ.",
		"A transaction ends once: a commit that comes late does not deliver the message a second time.",
		"A delayed message comes within milliseconds of its time, not at the next whole second.",
		"A queue keeps its newest 200,000 messages (Options.Retain); nothing is removed by age.",
		"A question for the largest offset of a topic that does not exist is refused (code 17).",
		"Properties of more than 32,000 bytes are refused (RocketMQ: 32,767).",
		"Not served: SQL92 filters, request and reply (code 324), access control, several brokers, binary headers.",
	}
}
