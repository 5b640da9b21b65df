package main

import (
	"flag"
	"fmt"
	"strings"
	"time"
)

const (
	// ownSlow is what the services of an own shop may send to the database, in KB per second. The shop, ten times its
	// load and the generator share the processors. Without this limit a strategy's capacity is what they leave to it: the
	// same closed loop, repeated in one run, placed 267 to 623 orders a second with redis-lock on two cores, and no share
	// of such a capacity can be told from noise.
	ownSlow = 400
	unset   = -1
)

// options are the command's flags.
type options struct {
	url      string
	ops      []string // host:port of the operations ports: gateway, order-srv, inventory-srv
	own      bool
	slow     int // KB per second that the services of an own shop send to the database at most; 0: no limit
	strategy string
	out      string
	deadline time.Duration
	plan     plan
}

// plan describes the loads of a run.
type plan struct {
	Buyers      []int     `json:"buyers"` // of the closed loops
	Factors     []float64 `json:"factors"`
	Connections []int     `json:"connections"`
	Closed      time.Duration
	Open        time.Duration // duration of each open loop
	Pause       time.Duration // between two loops
	Rest        time.Duration // without load, at the end
}

// full takes about five minutes, quick about one.
func full() plan {
	return plan{
		Buyers: []int{8, 32, 128, 256}, Factors: []float64{0.5, 1, 2, 5, 10}, Connections: []int{1000, 3000},
		Closed: 8 * time.Second, Open: 12 * time.Second, Pause: 5 * time.Second, Rest: 60 * time.Second,
	}
}

func quick() plan {
	return plan{
		Buyers: []int{32, 128}, Factors: []float64{1, 10}, Connections: []int{1000, 3000},
		Closed: 4 * time.Second, Open: 6 * time.Second, Pause: 2 * time.Second, Rest: 25 * time.Second,
	}
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("overload", flag.ContinueOnError)
	f.StringVar(&o.url, "url", "http://127.0.0.1:8080", "the gateway")
	ops := f.String("ops", "127.0.0.1:9080,127.0.0.1:9081,127.0.0.1:9082", "operations ports, for memory and check-backs; empty: neither is measured")
	f.StringVar(&o.strategy, "strategy", "", "how stock is guarded (lab mode); empty: the service's own")
	f.StringVar(&o.out, "out", "overload", "folder of overload.json and overload.html")
	f.DurationVar(&o.deadline, "deadline", 3*time.Second, "an order that is placed later is no goodput")
	f.BoolVar(&o.own, "own", false, "start a shop for the run, as plain processes, and stop it afterwards")
	f.IntVar(&o.slow, "slow", unset, fmt.Sprintf("with -own: KB per second that the services send to the database at most, to lower the capacity; "+
		"0: no limit; default %d", ownSlow))
	short := f.Bool("quick", false, "a minute instead of five")
	rest := f.Duration("rest", 0, "how long to rest before the last look; 0: the preset's")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.plan = full()
	if *short {
		o.plan = quick()
	}
	if *rest > 0 {
		o.plan.Rest = *rest
	}
	if *ops != "" {
		o.ops = strings.Split(*ops, ",")
	}
	switch {
	case o.slow == unset && o.own:
		o.slow = ownSlow
	case o.slow == unset:
		o.slow = 0
	case o.slow < 0 || !o.own:
		return o, fmt.Errorf("-slow %d: 0 or more, with -own", o.slow)
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return o, nil
}
