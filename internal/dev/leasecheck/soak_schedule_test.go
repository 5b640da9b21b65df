package leasecheck_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// kind is a sort of fault.
type kind string

const (
	blackHole     kind = "black hole"
	lateReplies   kind = "replies delayed"
	lateCommands  kind = "commands delayed"
	reset         kind = "connections reset"
	halfOpenLinks kind = "connections half-open"
	flushed       kind = "Redis flushed"
	frozen        kind = "Redis stopped"
	restarted     kind = "Redis restarted empty"
	stoppedHolder kind = "holder stopped"
	killedHolder  kind = "holder killed"
)

// lanes are what goes wrong side by side: the way to Redis, Redis, and the holders. Within a lane one fault follows the
// other.
func lanes() [][]kind {
	return [][]kind{
		{blackHole, lateReplies, lateCommands, reset, halfOpenLinks},
		{flushed, frozen, restarted},
		{stoppedHolder, killedHolder},
	}
}

// event is one fault of the schedule.
type event struct {
	kind   kind
	after  time.Duration // from the lane's fault before it
	lasts  time.Duration // for those that last
	holder int           // which one it is about, or whose way to Redis
}

// schedule is what goes wrong in a window, lane by lane. It depends on nothing but the seed and the window's number.
// Each lane deals its kinds like a pack of cards, so that a few windows have them all.
func schedule(seed uint64, window int) [][]event {
	var plan [][]event
	for lane, kinds := range lanes() {
		var events []event
		for i := range perWindow {
			n := window*perWindow + i
			pack := slices.Clone(kinds)
			r := rand.New(rand.NewPCG(seed, uint64(lane<<32+n/len(kinds))))
			r.Shuffle(len(pack), func(i, j int) { pack[i], pack[j] = pack[j], pack[i] })
			r = rand.New(rand.NewPCG(seed, uint64(lane<<32+1<<31+n)))
			events = append(events, event{
				kind:   pack[n%len(pack)],
				after:  300*time.Millisecond + time.Duration(r.Int64N(int64(2*time.Second))),
				lasts:  soakTTL + time.Duration(r.Int64N(int64(soakTTL))),
				holder: r.IntN(holders),
			})
		}
		plan = append(plan, events)
	}
	return plan
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	dealt := map[kind]int{}
	for window := range 3 {
		first, again := schedule(7, window), schedule(7, window)
		for lane := range first {
			if !slices.Equal(first[lane], again[lane]) {
				t.Errorf("window %d, lane %d: a seed gave %v and %v", window, lane, first[lane], again[lane])
			}
			for _, e := range first[lane] {
				dealt[e.kind]++
			}
		}
	}
	for _, kinds := range lanes() {
		for _, k := range kinds {
			if dealt[k] == 0 {
				t.Errorf("three windows have no %q", k)
			}
		}
	}
	if slices.Equal(schedule(7, 0)[0], schedule(8, 0)[0]) {
		t.Error("two seeds gave the same schedule")
	}
}
