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

// patience is how long an examination takes at most.
const patience = 3 * time.Second

// asking is the share of that time in which programs must answer. On a busy machine none of them may: in the rest of
// the time their checks still say so, and what they have found without them.
const asking = 5.0 / 6

// check is one check. Its way is the only one that it concerns, or "". Its parts run side by side: one that waits for
// an answer does not keep back what another has found.
type check struct {
	name  string
	way   Way
	parts []func(context.Context, *exam) []Finding
	none  string // what is reported when no part finds anything; "": nothing
}

func one(name string, way Way, run func(context.Context, *exam) []Finding) check {
	return check{name: name, way: way, parts: []func(context.Context, *exam) []Finding{run}}
}

func checks() []check {
	return []check{
		one("system", "", checkSystem),
		one("go", "", checkGo),
		one("docker", Docker, checkDocker),
		one("programs", Native, checkPrograms),
		one("java", Native, checkJava),
		one("ports", "", checkPorts),
		one("memory", "", checkMemory),
		one("disk", "", checkDisk),
		one("files", Native, checkFiles),
		one("proxy", "", checkProxy),
		{name: "leftovers", parts: leftovers(), none: "none"},
	}
}

// Examine runs all checks concurrently and returns their findings in a fixed order. It returns within [patience], also
// if a check hangs.
func Examine(ctx context.Context, m Machine, o Options) Report {
	return examine(ctx, newExam(m, o), checks(), patience)
}

func examine(ctx context.Context, e *exam, list []check, patience time.Duration) Report {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answering, stop := context.WithTimeout(ctx, time.Duration(asking*float64(patience)))
	defer stop()
	results := make([][]chan []Finding, len(list))
	for i, c := range list {
		for _, part := range c.parts {
			result := make(chan []Finding, 1) // a part that hangs, for instance in statfs, is abandoned
			results[i] = append(results[i], result)
			go func() { result <- part(answering, e) }()
		}
	}
	r := Report{Way: e.way(answering)}
	for i, c := range list {
		var found []Finding
		for _, result := range results[i] {
			found = append(found, await(ctx, result, patience)...)
		}
		if len(found) == 0 && c.none != "" {
			found = []Finding{{Level: OK, Found: c.none}}
		}
		for _, f := range found {
			f.Check = c.name
			if f.Way == "" {
				f.Way = c.way
			}
			r.add(f)
		}
	}
	return r
}

// await returns the findings of a part of a check, or a warning if it has not returned when ctx ends.
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
