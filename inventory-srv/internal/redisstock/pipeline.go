package redisstock

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"holdfast/pkg/batch"
)

// flush sends the calls in one pipeline.
func (c *Counters) flush(ctx context.Context, b *batch.Batch[call, reply]) {
	calls := b.Calls()
	items := make([]call, len(calls))
	for i, one := range calls {
		items[i] = one.Item
	}
	for i, r := range c.pipeline(ctx, items) {
		calls[i].Answer(r.reply, r.err)
	}
}

type result struct {
	reply
	err error
}

// pipeline executes the calls in their order. It sends those without an answer once more: every script is idempotent,
// so that the second answer settles what a broken connection has left open. After a restart of Redis it loads the
// scripts.
func (c *Counters) pipeline(ctx context.Context, calls []call) []result {
	results := make([]result, len(calls))
	left := make([]int, len(calls))
	for i := range calls {
		left[i] = i
	}
	for try := range 2 {
		if left = c.send(ctx, calls, left, try > 0, results); len(left) == 0 {
			break
		}
		if ctx.Err() != nil {
			break
		}
		if err := c.loadScripts(ctx, calls, left); err != nil {
			break // the results have the cause
		}
	}
	return results
}

// packet is one execution of a script, for one call or for many reservations.
type packet struct {
	script *redis.Script
	epoch  int64
	args   []any
	of     []int // indexes of the calls
	many   bool  // it has an answer for each of them
	cmd    *redis.Cmd
}

// packets distributes the calls with these indexes over packets.
func (c *Counters) packets(calls []call, left []int, epoch int64) []*packet {
	var packets []*packet
	var open *packet // for reservations
	for _, i := range left {
		one := calls[i]
		if !one.batched {
			in := epoch
			if one.epoch != 0 {
				in = one.epoch
			}
			packets = append(packets, &packet{script: one.script, epoch: in, args: one.args, of: []int{i}})
			continue
		}
		if open == nil || len(open.args) > maxArgs {
			open = &packet{script: one.script, epoch: epoch, args: []any{c.cfg.MaxWaiting, 0}, many: true}
			packets = append(packets, open)
		}
		open.of = append(open.of, i)
		open.args = append(open.args, one.args...)
		open.args[1] = len(open.of)
	}
	return packets
}

// send sends the calls with these indexes and returns the indexes of those without an answer.
func (c *Counters) send(ctx context.Context, calls []call, left []int, resent bool, results []result) (unanswered []int) {
	epoch, received := c.state()
	packets := c.packets(calls, left, epoch)
	pipe := c.cfg.Client.Pipeline()
	for _, p := range packets {
		p.cmd = pipe.EvalSha(ctx, p.script.Hash(), c.keys, append([]any{c.prefix(p.epoch), p.epoch, c.replica, received}, p.args...)...)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for _, p := range packets {
		for n, i := range p.of {
			fields, err := p.answer(n)
			if err != nil {
				unanswered = append(unanswered, i)
			} else {
				err = c.receive(p.epoch, calls[i], fields)
			}
			results[i] = result{reply{fields: fields, epoch: p.epoch, resent: resent}, err}
		}
	}
	return unanswered
}

// answer returns the answer to the nth of the packet's calls.
func (p *packet) answer(n int) ([]string, error) {
	reply, err := p.cmd.Slice()
	if err != nil {
		return nil, err
	}
	if p.many && len(reply) > 0 {
		reply, _ = reply[min(n, len(reply)-1)].([]any) // one answer may be for all
	}
	answer := make([]string, len(reply))
	for i, field := range reply {
		answer[i], _ = field.(string)
	}
	if len(answer) == 0 {
		return nil, errors.New("a script gave no answer")
	}
	return answer, nil
}

// loadScripts loads the scripts of the calls.
func (c *Counters) loadScripts(ctx context.Context, calls []call, left []int) error {
	loaded := map[string]bool{}
	for _, i := range left {
		s := calls[i].script
		if loaded[s.Hash()] {
			continue
		}
		if err := s.Load(ctx, c.cfg.Client).Err(); err != nil {
			return err
		}
		loaded[s.Hash()] = true
	}
	return nil
}
