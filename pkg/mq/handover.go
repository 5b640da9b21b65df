package mq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"holdfast/pkg/wait"
)

// A queue of an ordered subscription belongs to the consumer that holds the broker's lock on it. When another consumer
// joins the group, the client library stops reading the queues that are no longer its own, and leaves them locked:
// their messages would wait a minute for the lock to run out. So this file gives the lock back.
//
// The library asks the allocation strategy each time that queues are shared anew, which is how we learn what we have
// lost. A lost queue is given back when its handler has returned; none begins any more.

// handover is what one ordered subscription knows of its queues.
type handover struct {
	bus *Bus

	mu    sync.Mutex
	queue map[primitive.MessageQueue]*heldQueue
}

// heldQueue is a queue that is ours, or was and is not given back yet.
type heldQueue struct {
	lost bool
	busy int           // handlers running, one at most in practice
	idle chan struct{} // closed when lost and no handler runs
}

func newHandover(b *Bus) *handover {
	return &handover{bus: b, queue: make(map[primitive.MessageQueue]*heldQueue)}
}

// allocate is the library's default strategy, watched.
func (h *handover) allocate(group, client string, all []*primitive.MessageQueue, clients []string) []*primitive.MessageQueue {
	mine := consumer.AllocateByAveragely(group, client, all, clients)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, q := range mine {
		if held := h.queue[*q]; held == nil || held.lost {
			h.queue[*q] = &heldQueue{idle: make(chan struct{})}
		}
	}
	var lost []primitive.MessageQueue
	var idle []<-chan struct{}
	for _, q := range all {
		held := h.queue[*q]
		if held == nil || held.lost || slices.ContainsFunc(mine, func(m *primitive.MessageQueue) bool { return *m == *q }) {
			continue
		}
		held.lost = true
		if held.busy == 0 {
			close(held.idle)
		}
		lost, idle = append(lost, *q), append(idle, held.idle)
	}
	if len(lost) > 0 && h.bus.gate.enter() { // else the bus is closing, and the library unlocks what it holds
		h.bus.handovers.Go(func() { h.giveBack(group, client, lost, idle) })
		h.bus.gate.leave()
	}
	return mine
}

// enter reports whether a handler may take a message of q; if so, leave must be called with what it returns.
func (h *handover) enter(q primitive.MessageQueue) (held *heldQueue, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held = h.queue[q]
	if held == nil || held.lost {
		return nil, false
	}
	held.busy++
	return held, true
}

// leave undoes enter.
func (h *handover) leave(held *heldQueue) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held.busy--
	if held.lost && held.busy == 0 {
		close(held.idle)
	}
}

// giveBack unlocks lost queues for their new owner and makes it look for them. After a failure the new owner waits up
// to a minute for the locks to expire.
func (h *handover) giveBack(group, client string, lost []primitive.MessageQueue, idle []<-chan struct{}) {
	for _, c := range idle {
		select {
		case <-c:
		case <-h.bus.work.Done():
			return
		}
	}
	if !h.bus.gate.enter() {
		return
	}
	defer h.bus.gate.leave()
	ctx, cancel := context.WithTimeout(h.bus.work, giveBackTime)
	defer cancel()
	// The library stores the offset and releases the queue after its callback returns. The new owner starts at that
	// offset.
	if wait.Sleep(ctx, settleTime) != nil {
		return
	}
	if err := h.unlock(ctx, group, client, h.stillLost(lost)); err != nil {
		h.bus.cfg.Log.WarnContext(ctx, "queues not handed over, their new owner waits up to a minute", "group", group, "err", err)
	}
}

// giveBackTime bounds the unlocking.
const giveBackTime = 5 * time.Second

// stillLost leaves out what has become ours again meanwhile, and forgets the rest.
func (h *handover) stillLost(lost []primitive.MessageQueue) []primitive.MessageQueue {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(lost, func(q primitive.MessageQueue) bool {
		if held := h.queue[q]; held != nil && !held.lost {
			return true
		}
		delete(h.queue, q)
		return false
	})
}

func (h *handover) unlock(ctx context.Context, group, client string, lost []primitive.MessageQueue) error {
	ns, masters, err := h.bus.cluster(ctx)
	if err != nil {
		return err
	}
	defer ns.close()
	byBroker := make(map[string][]primitive.MessageQueue)
	for _, q := range lost {
		byBroker[q.BrokerName] = append(byBroker[q.BrokerName], q)
	}
	var faults []error
	for name, queues := range byBroker {
		faults = append(faults, unlockOn(ctx, masters[name], group, client, queues))
	}
	return errors.Join(faults...)
}

func unlockOn(ctx context.Context, addr, group, client string, queues []primitive.MessageQueue) error {
	broker, err := dialWire(ctx, addr)
	if err != nil {
		return err
	}
	defer broker.close()
	return broker.unlock(ctx, group, client, queues)
}

// unlock releases a client's queues and makes the broker notify the group's members to share the queues anew. The
// broker does so whenever a member leaves, so unlock unregisters a member that does not exist.
func (w *wire) unlock(ctx context.Context, group, client string, queues []primitive.MessageQueue) error {
	body, err := json.Marshal(map[string]any{"consumerGroup": group, "clientId": client, "mqSet": queues})
	if err != nil {
		return err
	}
	if _, err := w.callBody(ctx, requestUnlock, nil, body); err != nil {
		return fmt.Errorf("unlock %d queues: %w", len(queues), err)
	}
	if _, err := w.call(ctx, requestUnregister, map[string]string{"clientID": client, "consumerGroup": group}); err != nil {
		return fmt.Errorf("tell the group: %w", err)
	}
	return nil
}
