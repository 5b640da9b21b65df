package e2e_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
)

// flowGroup is a number of cases that share a shop.
type flowGroup struct {
	name  string
	cases []string
	run   func(t *testing.T, s *flowSuite, b crashBroker)

	devOnly string // why it cannot run on RocketMQ
	onAll   bool   // on RocketMQ only with make flows-all
}

func flowGroups() []flowGroup {
	return []flowGroup{
		{name: "calm", cases: []string{caseSellOut, caseExact, caseRepeats, caseBadInput}, run: calmCases, onAll: true},
		{name: "outages", cases: []string{caseInventory, caseWallet, caseBroker, caseDisk, caseRace, casePoison}, run: outageCases},
		{
			name: "in flight", cases: []string{caseReply, caseRestart}, run: inFlightCases,
			devOnly: "it can be told to lose and to delay messages",
		},
		{name: "burst", cases: []string{caseBurst}, run: burstCases, onAll: true},
	}
}

// TestFlows runs the same cases for every flow and prints a table. The cases of a group share a shop, in which all
// flows place their orders at the same time: each request names its flow. The shops have two replicas of each service;
// that of the outages has one, so that what is killed is away. The crash points of the flows are in TestCrashPoints.
//
// HOLDFAST_FLOWS=all, which make flows-all sets, runs all cases on both brokers, with more buyers.
func TestFlows(t *testing.T) {
	t.Parallel()
	stacktest.SkipIfShort(t, "MySQL, Redis and RocketMQ")
	s := &flowSuite{all: os.Getenv("HOLDFAST_FLOWS") == "all", cells: map[[3]string]string{}}
	namesAllFlows(t)
	brokers := []crashBroker{{name: "development broker"}}
	if os.Getenv("BROKER") != stack.BrokerDev {
		if err := stack.RocketMQAvailable(); err != nil {
			t.Logf("RocketMQ cannot run here, half of the table is missing: %v", err)
		} else {
			brokers = append(brokers, crashBroker{name: "RocketMQ", real: true})
		}
	}
	begin := time.Now()
	var running sync.WaitGroup
	for _, b := range brokers {
		running.Go(func() { // t.Parallel would run only as many at once as there are processors
			for _, g := range flowGroups() {
				if reason := s.skips(g, b); reason != "" {
					s.putAll(b, g.cases, reason)
					continue
				}
				t.Run(b.name+"/"+g.name, func(t *testing.T) {
					begin := time.Now()
					g.run(t, s, b)
					t.Logf("took %.0f s", time.Since(begin).Seconds())
				})
			}
		})
		if s.all {
			running.Wait() // so many buyers need the whole machine
		}
	}
	running.Wait()
	t.Logf("%s\nin %.0f s", s.table(t, brokers), time.Since(begin).Seconds())
}

// flowSuite collects the results.
type flowSuite struct {
	all bool

	mu    sync.Mutex
	cells map[[3]string]string // by broker, case and flow
}

// skips returns why a group does not run on a broker, or "".
func (s *flowSuite) skips(g flowGroup, b crashBroker) string {
	switch {
	case !b.real:
		return ""
	case g.devOnly != "":
		return "only on the development broker: " + g.devOnly
	case g.onAll && !s.all:
		return "with make flows-all"
	}
	return ""
}

// put records the result of a case for a flow.
func (s *flowSuite) put(t *testing.T, b crashBroker, name, flow, became string) {
	if t.Failed() {
		became = "FAILED"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cells[[3]string{b.name, name, flow}] = became
}

func (s *flowSuite) putAll(b crashBroker, cases []string, became string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range cases {
		for _, f := range flowRows() {
			s.cells[[3]string{b.name, c, f.name}] = became
		}
	}
}

// table returns a line for each case and flow on each broker. A case that a flow does not have says why.
func (s *flowSuite) table(t *testing.T, brokers []crashBroker) string {
	var b strings.Builder
	b.WriteString("what became of it\n")
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	for _, g := range flowGroups() {
		for _, c := range g.cases {
			for _, f := range flowRows() {
				for _, broker := range brokers {
					fmt.Fprintf(w, "| %s\t| %s\t| %s\t| %s\t|\n", c, f.name, broker.name, s.cell(t, broker, c, f))
				}
			}
		}
	}
	_ = w.Flush()
	return b.String()
}

func (s *flowSuite) cell(t *testing.T, b crashBroker, name string, f flowRow) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if why, lacks := f.lacks[name]; lacks {
		return "none: " + why
	}
	if became, ok := s.cells[[3]string{b.name, name, f.name}]; ok {
		return became
	}
	if !t.Failed() {
		return "not chosen by -run"
	}
	return "FAILED"
}

// size is n, or more in the full matrix.
func (s *flowSuite) size(n, full int) int {
	if s.all {
		return full
	}
	return n
}

// each runs a case for all flows at the same time. run returns what became of it.
func (s *flowSuite) each(t *testing.T, sh *shop, b crashBroker, name string, run func(t *testing.T, f *flowShop) string) {
	var running sync.WaitGroup
	for _, row := range flowRows() {
		if _, lacks := row.lacks[name]; lacks {
			continue
		}
		running.Go(func() {
			t.Run(name+"/"+row.name, func(t *testing.T) {
				begin, became := time.Now(), "FAILED"
				defer func() { s.put(t, b, name, row.name, fmt.Sprintf("%s (%.0f s)", became, time.Since(begin).Seconds())) }()
				became = run(t, &flowShop{shop: sh.on(t), flow: row})
			})
		})
	}
	running.Wait()
	if t.Failed() {
		t.FailNow() // the shop is in an unknown state
	}
}
