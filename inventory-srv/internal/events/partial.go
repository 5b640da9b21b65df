package events

import "sync"

// keptPartial is how many ended orders of messages that failed in part a process remembers.
const keptPartial = 20_000

// partial remembers, of messages with failed orders, the orders that were ended, so that the next delivery
// retries the others alone. It is the memory of one process: another replica ends all orders again, which changes
// nothing.
type partial struct {
	limit int

	mu    sync.Mutex
	size  int                        // orders
	ended map[string]map[string]bool // by message
	ids   []string                   // of the messages, the oldest first
}

func newPartial(limit int) *partial {
	return &partial{limit: limit, ended: map[string]map[string]bool{}}
}

// left returns the orders of a message that an earlier delivery has not ended.
func (p *partial) left(message string, orderNos []string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	ended := p.ended[message]
	if len(ended) == 0 {
		return orderNos
	}
	var left []string
	for _, no := range orderNos {
		if !ended[no] {
			left = append(left, no)
		}
	}
	return left
}

// add remembers orders of a message that is delivered again. The oldest messages are forgotten first.
func (p *partial) add(message string, orderNos []string) {
	if message == "" || len(orderNos) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended[message] == nil {
		p.ended[message] = map[string]bool{}
		p.ids = append(p.ids, message)
	}
	for _, no := range orderNos {
		if !p.ended[message][no] {
			p.ended[message][no] = true
			p.size++
		}
	}
	for p.size > p.limit {
		oldest := p.ids[0]
		p.ids = p.ids[1:]
		p.size -= len(p.ended[oldest])
		delete(p.ended, oldest)
	}
}

// forget is for a message that is not delivered again. Its id leaves ids when it is the oldest.
func (p *partial) forget(message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.size -= len(p.ended[message])
	delete(p.ended, message)
	for len(p.ids) > 0 && p.ended[p.ids[0]] == nil {
		p.ids = p.ids[1:]
	}
}
