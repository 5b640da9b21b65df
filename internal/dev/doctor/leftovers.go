package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/dev/stack"
)

// fetchAge is the age from which a folder of an unfinished download is a leftover: a download has ten minutes.
const fetchAge = 15 * time.Minute

// leftovers are the parts of the check that finds what earlier runs left. The containers are a part of their own:
// Docker may not answer, and the others ask no program.
func leftovers() []func(context.Context, *exam) []Finding {
	return []func(context.Context, *exam) []Finding{
		func(ctx context.Context, e *exam) []Finding { return e.recorded(ctx) },
		func(_ context.Context, e *exam) []Finding { return e.orphans() },
		func(ctx context.Context, e *exam) []Finding { return e.containers(ctx) },
		func(_ context.Context, e *exam) []Finding { return e.downloads() },
	}
}

// recorded examines the record of the processes that up started.
func (e *exam) recorded(ctx context.Context) []Finding {
	if e.stateErr != nil {
		return []Finding{{
			Level: Problem, Way: Native, Found: e.stateErr.Error(),
			Advice: "end the processes of the shop by hand, then remove the file",
		}}
	}
	gone := e.state.Gone(ctx)
	switch {
	case len(e.state.Components) == 0:
		return nil
	case len(gone) == len(e.state.Components):
		return []Finding{{Level: OK, Way: Native, Found: "no part of the last shop runs, for instance after a restart of the machine; up starts all"}}
	case len(gone) > 0:
		return []Finding{{
			Level: Warning, Way: Native, Found: strings.Join(gone, " and ") + " ended, the other parts run",
			Advice: e.state.Again() + " starts the missing parts; " + filepath.Join(e.Dir, "*.log") + " says why they ended",
		}}
	}
	return []Finding{{Level: OK, Way: Native, Found: fmt.Sprintf("a shop of %s runs", counted(len(e.state.Components), "part"))}}
}

// servers are the programs that keep data in the state folder.
func servers() []string {
	return []string{"mariadbd", "mysqld", "redis-server", "valkey-server", "java"}
}

// orphans are servers on the data of this stack that its record does not have. A new server cannot use the data.
func (e *exam) orphans() []Finding {
	var found []Finding
	for _, pid := range e.pids() {
		known := slices.ContainsFunc(e.state.Components, func(c stack.Component) bool { return c.PID == pid })
		name := e.processName(pid)
		if known || !slices.Contains(servers(), name) || !strings.Contains(file(e.Proc, strconv.Itoa(pid), "cmdline"), e.Dir+"/") {
			continue
		}
		found = append(found, Finding{
			Level: Problem, Way: Native, Found: fmt.Sprintf("%s (process %d) of an earlier run uses the data in %s", name, pid, e.Dir),
			Advice: fmt.Sprintf("kill %d", pid),
		})
	}
	return found
}

// containers examines the containers of the Compose project.
func (e *exam) containers(ctx context.Context) []Finding {
	list := e.docker(ctx).project()
	if len(list) == 0 {
		return nil
	}
	if e.way(ctx) == Native {
		return []Finding{{
			Level: Warning, Found: fmt.Sprintf("%s of the project %s; both ways use the same ports", counted(len(list), "container"), list[0].project),
			Advice: "docker compose --profile '*' down",
		}}
	}
	var found []Finding
	for _, c := range list {
		if advice := containerAdvice(c); advice != "" {
			found = append(found, Finding{Level: Warning, Found: c.name + ": " + c.status, Advice: advice})
		}
	}
	return found
}

// containerAdvice returns what to do about a container that failed, or "".
func containerAdvice(c container) string {
	switch {
	case strings.HasPrefix(c.status, "Exited (137)"):
		return "its memory limit may be too small, or the machine's memory: docker compose logs " + c.service
	case strings.HasPrefix(c.status, "Exited (0)"):
		return ""
	case strings.HasPrefix(c.status, "Exited"), strings.HasPrefix(c.status, "Restarting"), strings.Contains(c.status, "unhealthy"):
		return "docker compose logs " + c.service
	}
	return ""
}

// downloads finds downloads of RocketMQ's jars that were interrupted.
func (e *exam) downloads() []Finding {
	folders, err := filepath.Glob(filepath.Join(e.Cache, "holdfast", "fetching-*"))
	if err != nil {
		return nil
	}
	var found []Finding
	for _, folder := range folders {
		if info, err := os.Stat(folder); err == nil && time.Since(info.ModTime()) > fetchAge {
			found = append(found, Finding{
				Level: Warning, Way: Native, Found: "an interrupted download is in " + folder, Advice: "rm -r " + folder,
			})
		}
	}
	return found
}
