package lock

import (
	"slices"
	"time"
)

// tickets are a claim's place among the waiters of all processes on one Redis.
//
// # Tickets
//
// A claim draws a ticket, a number of a counter that all claims of the prefix share, with its third refusal, a claim
// for one key with its second. This refusal and each later one keep all keys of the claim for it, free keys too, except
// those that are kept for a lower ticket; a higher ticket is overwritten. A claim is granted when each of its keys is
// held by no other claim and kept for no lower ticket. For a claim without a ticket every ticket is lower: it takes
// keys that are kept for none.
//
// # Why it ends
//
// Tickets are distinct, so the waiters that have one are in a total order. Take the lowest, T. No other waiter stops
// it: each waits for T, and none is granted a key of T once T has made an attempt, as all keys of T are then held or
// kept for T. A waiter holds nothing, as a claim gets all keys or none; the leases that T waits for therefore end
// without waiting for T. Each ends with its release, its TTL or its MaxHold. The last one's release wakes T, which is
// granted. So the lowest ticket is always granted, its number is never drawn again, and each waiter with a ticket
// becomes the lowest in the end. There is no deadlock: waiters wait for leases and for lower tickets, leases for
// neither.
//
// This needs two things of callers. A caller that acquires a second lease while it holds one is a holder that waits; it
// may deadlock with a ticket, until MaxHold. And callers that release soon: a free key is kept idle for as long as the
// slowest of the waiter's other keys is held.
//
// # What is lost
//
// A keep lapses after two polls (keepTime) when the waiter does not renew it with an attempt. So a process that dies as
// a waiter delays others by that time, once. A release does not shorten a keep. A waiter that gives up removes its
// keeps with a script. Between the end of T and the next attempt of a waiter whose keep T had overwritten, a claim
// without a ticket may take the key: one for each key and each lower ticket, so the argument above is not touched. When
// Redis loses the ticket counter, a waiter that has a higher ticket raises it with its next refusal.
type tickets struct {
	counters []string // the fencing counter and the ticket counter
	keeps    []string // by key
	old      []string // the counters of an older version, while the Locker has not checked them

	refusals int
	number   int64 // what the next attempt says: noTicket, drawTicket or the ticket
}

// What an attempt says instead of a number.
const (
	noTicket   = -1
	drawTicket = 0
)

// Refusals that a claim accepts before the next one gives it a ticket. A claim for several keys keeps free keys idle,
// so it waits for a third; the second often follows the first at once, with the subscription. A claim for one key keeps
// only what another claim holds: with its second refusal two processes that never stop have equal shares, with the
// third one of them had two leases for each of the other's.
const (
	maxRefusals       = 2
	maxRefusalsOneKey = 1
)

func newTickets(n names, keys []string, checkOld bool) *tickets {
	t := &tickets{counters: []string{n.fence(), n.ticket()}, number: noTicket}
	for _, key := range keys {
		t.keeps = append(t.keeps, n.keep(key))
		if checkOld {
			t.old = append(t.old, n.oldFence(key))
		}
	}
	return t
}

// prepare prepares the next attempt, which draws a ticket after enough refusals.
func (t *tickets) prepare() {
	accepted := maxRefusals
	if len(t.keeps) == 1 {
		accepted = maxRefusalsOneKey
	}
	if t.number == noTicket && t.refusals >= accepted {
		t.number = drawTicket
	}
}

// refused records that an attempt was refused, and returns for how long the keys are kept for the claim, zero when they
// are not.
func (t *tickets) refused(ticket int64, set settings) time.Duration {
	t.refusals++
	if ticket == 0 {
		return 0
	}
	t.number = ticket
	return set.keepTime()
}

// drawn reports whether Redis may keep a key for the claim.
func (t *tickets) drawn() bool { return t.number != noTicket }

// names are the names that the acquire script gets after those of the locks.
func (t *tickets) names() []string { return slices.Concat(t.counters, t.keeps, t.old) }
