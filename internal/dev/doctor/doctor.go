// Package doctor examines the machine on which Holdfast is to run: programs, ports, memory, disk, proxies and leftovers
// of earlier runs. It says what would stop `up` and what to do about it. It changes nothing.
//
// The facts come from a [Machine], so that tests describe a broken machine instead of breaking one. Each check has a
// deadline: a Docker daemon or a network file system that does not answer must not block the others.
package doctor

import (
	"context"
	"fmt"
	"time"
)

// Level says what a finding means for the next `up`.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Note    Level = "note"    // a warning or a problem of the way that is not used
	Warning Level = "warning" // up works, but something is missing, slow or near a limit
	Problem Level = "problem" // up fails
)

// Way is a way of running Holdfast.
type Way string

// The ways. Auto chooses as deploy/way does.
const (
	Auto   Way = "auto"
	Docker Way = "docker"
	Native Way = "native"
)

// Finding is what a check found.
type Finding struct {
	Check  string `json:"check"` // a stable name: "docker", "ports"
	Level  Level  `json:"level"`
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"` // what to do; empty if there is nothing to do
	Way    Way    `json:"way,omitempty"`    // the only way that the finding concerns; empty: both
}

// Report is the result of an examination.
type Report struct {
	Way      Way       `json:"way"` // the way that `make up` goes, or the requested one
	Problems int       `json:"problems"`
	Warnings int       `json:"warnings"`
	Findings []Finding `json:"findings"`
}

// Options describes what to examine.
type Options struct {
	Dir      string // folder of the stack's state
	Way      Way    // default [Auto]
	Broker   string // as for `up`: auto, rocketmq or devbroker
	Replicas int    // processes of each service; 0: one
}

// patience is how long a check may take. The facts about Docker, which several checks share, have less.
const (
	patience       = 3 * time.Second
	dockerPatience = 2500 * time.Millisecond
)

// check is one check. Its way is the only one that it concerns, or "".
type check struct {
	name string
	way  Way
	run  func(context.Context, *exam) []Finding
}

func checks() []check {
	return []check{
		{"system", "", checkSystem},
		{"go", "", checkGo},
		{"docker", Docker, checkDocker},
		{"programs", Native, checkPrograms},
		{"java", Native, checkJava},
		{"ports", "", checkPorts},
		{"memory", "", checkMemory},
		{"disk", "", checkDisk},
		{"files", Native, checkFiles},
		{"proxy", "", checkProxy},
		{"leftovers", "", checkLeftovers},
	}
}

// Examine runs all checks concurrently and returns their findings in a fixed order. It returns after [patience], also
// if a check hangs.
func Examine(ctx context.Context, m Machine, o Options) Report {
	return examine(ctx, newExam(m, o), checks(), patience)
}

func examine(ctx context.Context, e *exam, list []check, patience time.Duration) Report {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	results := make([]chan []Finding, len(list))
	for i, c := range list {
		results[i] = make(chan []Finding, 1) // a check that hangs, for instance in statfs, is abandoned
		go func() { results[i] <- c.run(ctx, e) }()
	}
	r := Report{Way: e.way(ctx)}
	for i, c := range list {
		for _, f := range await(ctx, results[i], patience) {
			f.Check = c.name
			if f.Way == "" {
				f.Way = c.way
			}
			r.add(f)
		}
	}
	return r
}

// await returns the findings of a check, or a warning if it has none when ctx ends.
func await(ctx context.Context, result <-chan []Finding, patience time.Duration) []Finding {
	select {
	case found := <-result:
		return found
	case <-ctx.Done():
	}
	select { // a result that came with the deadline counts
	case found := <-result:
		return found
	default:
		return []Finding{{Level: Warning, Found: fmt.Sprintf("no answer within %v", patience)}}
	}
}

func (r *Report) add(f Finding) {
	if f.Way != "" && f.Way != r.Way && (f.Level == Warning || f.Level == Problem) {
		f.Level = Note
	}
	switch f.Level {
	case Problem:
		r.Problems++
	case Warning:
		r.Warnings++
	}
	r.Findings = append(r.Findings, f)
}
