package doctor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"holdfast/internal/dev/stack"
)

// The oldest servers that work: MariaDB and MySQL need SKIP LOCKED, RocketMQ needs Java 17.
const (
	minMySQL   = "8.0"
	minMariaDB = "10.6"
	minRedis   = "6.2"
	minJava    = "17"
)

// checkPrograms examines the programs of the native way, except those that only RocketMQ needs.
func checkPrograms(ctx context.Context, e *exam) []Finding {
	var programs []stack.Program
	for _, p := range e.Programs() {
		if !strings.Contains(p.For, "RocketMQ") {
			programs = append(programs, p)
		}
	}
	found := make([]Finding, len(programs))
	var asking sync.WaitGroup
	for i, p := range programs {
		asking.Go(func() { found[i] = e.programFinding(ctx, p) })
	}
	asking.Wait()
	return found
}

func (e *exam) programFinding(ctx context.Context, p stack.Program) Finding {
	if p.Path == "" {
		return missingFinding(p)
	}
	text, err := e.Output(ctx, p.Path, "--version")
	v := version(text)
	if err != nil || v == "" { // Debian's redis-check-rdb is a whole server, but its tool has no version
		return Finding{Level: OK, Found: p.Name + ": " + p.Path}
	}
	f := Finding{Level: OK, Found: fmt.Sprintf("%s: %s %s", p.Name, p.Path, v)}
	if least := oldest(p, text); !atLeast(v, least) {
		f.Level, f.Found, f.Advice = Problem, f.Found+" is too old", "install version "+least+" or newer"
	}
	return f
}

// missingFinding judges a missing program: the shop does not start without its servers.
func missingFinding(p stack.Program) Finding {
	f := Finding{Level: Problem, Found: fmt.Sprintf("%s is not installed; %s needs it", p.Name, p.For), Advice: p.Install}
	if p.Automatic {
		f.Level, f.Advice = OK, ""
		f.Found += ", and up gets it by itself"
		return f
	}
	if p.For != "the shop" {
		f.Level = Warning
	}
	return f
}

// oldest returns the oldest version that works. text is what the program says about itself.
func oldest(p stack.Program, text string) string {
	switch {
	case strings.Contains(text, "MariaDB"):
		return minMariaDB
	case strings.HasPrefix(filepath.Base(p.Path), "mysqld"):
		return minMySQL
	case p.Name == "Redis":
		return minRedis
	}
	return "0"
}

// checkJava: only RocketMQ needs Java.
func checkJava(ctx context.Context, e *exam) []Finding {
	if e.broker() == stack.BrokerDev {
		return []Finding{{Level: OK, Found: "not needed: BROKER=" + stack.BrokerDev}}
	}
	level, instead := Warning, ", or stay with the development broker, which up uses without RocketMQ"
	if e.broker() == stack.BrokerRocketMQ {
		level, instead = Problem, ", or choose BROKER="+stack.BrokerDev
	}
	if err := e.RocketMQ(); err != nil {
		what, install := e.missingForRocketMQ()
		if what == "" {
			what, install = err.Error(), "mend this"
		}
		return []Finding{{Level: level, Found: what, Advice: install + instead}}
	}
	text, err := e.Output(ctx, e.path("java"), "-version")
	if errors.Is(err, errNoAnswer) { // a busy machine
		return []Finding{{Level: Warning, Found: "java -version: " + err.Error()}}
	}
	if err != nil {
		return []Finding{{Level: Problem, Found: "java -version: " + firstLine(text, err), Advice: "install a JDK 17 or newer" + instead}}
	}
	v := strings.TrimPrefix(version(text), "1.") // Java 8 calls itself 1.8
	if !atLeast(v, minJava) {
		return []Finding{{
			Level: Problem, Found: "java " + v + " is too old for RocketMQ",
			Advice: "install a JDK 17 or newer, or choose BROKER=" + stack.BrokerDev,
		}}
	}
	return []Finding{{Level: OK, Found: "java " + v + "; RocketMQ can run"}}
}

// missingForRocketMQ returns the programs that are missing and how to install them.
func (e *exam) missingForRocketMQ() (what, install string) {
	var names, commands []string
	for _, p := range e.Programs() {
		if p.Path == "" && strings.Contains(p.For, "RocketMQ") {
			names = append(names, p.Name)
			if !slices.Contains(commands, p.Install) {
				commands = append(commands, p.Install)
			}
		}
	}
	if names == nil {
		return "", ""
	}
	return "RocketMQ needs " + strings.Join(names, ", "), strings.Join(commands, "; ")
}

func (e *exam) broker() string {
	if e.Broker != "" && e.Broker != stack.BrokerAuto {
		return e.Broker
	}
	return e.Getenv("BROKER")
}

// firstLine returns the first line of a program's output, or else the error.
func firstLine(text string, err error) string {
	line, _, _ := strings.Cut(text, "\n")
	if line == "" || errors.Is(err, errNoAnswer) {
		return err.Error()
	}
	return line
}
