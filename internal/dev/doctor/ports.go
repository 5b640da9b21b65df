package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"holdfast/internal/dev/stack"
)

// checkPorts reports each port that is in use by something else than this stack.
func checkPorts(ctx context.Context, e *exam) []Finding {
	wanted := e.ports(ctx)
	taken := e.taken(wanted)
	if len(taken) == 0 {
		return []Finding{{Level: OK, Found: fmt.Sprintf("all %d ports are free: %s", len(wanted), portList(wanted))}}
	}
	owners := e.owners(taken)
	var found []Finding
	var ours []stack.Port
	for _, p := range taken {
		o := owners[p.Number]
		if e.isOurs(ctx, p, o) {
			ours = append(ours, p)
			continue
		}
		found = append(found, e.portFinding(ctx, p, o))
	}
	if len(ours) > 0 {
		found = append([]Finding{{Level: OK, Found: "this shop holds " + portList(ours)}}, found...)
	}
	return found
}

// ports returns the ports that `up` needs, on the way that is examined.
func (e *exam) ports(ctx context.Context) []stack.Port {
	if e.way(ctx) == Native {
		return stack.PortList(e.Replicas, e.broker() != stack.BrokerDev)
	}
	ports := []stack.Port{{Name: "api-gateway", Number: 8080}, {Name: "mysql", Number: 13306}, {Name: "redis", Number: 16379}}
	for i, variable := range []string{"GATEWAY_PORT", "MYSQL_PORT", "REDIS_PORT"} {
		if n, err := strconv.Atoi(cmp.Or(e.Getenv(variable), e.dotEnv(variable))); err == nil {
			ports[i].Number = n
		}
	}
	return ports
}

// dotEnv returns a variable of Compose's file, or "".
func (e *exam) dotEnv(variable string) string {
	for line := range strings.Lines(file(e.DotEnv)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), "="); name == variable {
			return value
		}
	}
	return ""
}

// taken returns the ports that are in use. It probes them concurrently: a probe of a port in use waits.
func (e *exam) taken(wanted []stack.Port) []stack.Port {
	var mu sync.Mutex
	var probes sync.WaitGroup
	var taken []stack.Port
	for _, p := range wanted {
		probes.Go(func() {
			if e.PortFree(p.Number) != nil {
				mu.Lock()
				defer mu.Unlock()
				taken = append(taken, p)
			}
		})
	}
	probes.Wait()
	slices.SortFunc(taken, func(a, b stack.Port) int { return cmp.Compare(a.Number, b.Number) })
	return taken
}

func portList(ports []stack.Port) string {
	var words []string
	for _, p := range ports {
		words = append(words, strconv.Itoa(p.Number))
	}
	return strings.Join(words, ", ")
}

// isOurs reports whether a part of this stack holds the port.
func (e *exam) isOurs(ctx context.Context, p stack.Port, o owner) bool {
	if slices.ContainsFunc(e.state.Components, func(c stack.Component) bool { return c.PID != 0 && c.PID == o.pid }) {
		return true
	}
	return e.way(ctx) == Docker && slices.ContainsFunc(e.docker(ctx).project(), func(c container) bool { return slices.Contains(c.ports, p.Number) })
}

func (e *exam) portFinding(ctx context.Context, p stack.Port, o owner) Finding {
	f := Finding{Level: Problem, Found: fmt.Sprintf("%d, which %s needs, is in use", p.Number, p.Name)}
	d := e.docker(ctx)
	containers := d.containers
	i := slices.IndexFunc(containers, func(c container) bool { return slices.Contains(c.ports, p.Number) })
	switch {
	case i >= 0 && containers[i].project == d.name:
		f.Found += " by the container " + containers[i].name
		f.Advice = "make down stops the containers of Holdfast"
	case i >= 0:
		f.Found += " by the container " + containers[i].name
		f.Advice = "docker stop " + containers[i].name
	case o.pid != 0:
		f.Found += fmt.Sprintf(" by %s (process %d)", o.name, o.pid)
		f.Advice = fmt.Sprintf("stop it: kill %d", o.pid)
		if slices.Contains(parts(), o.name) {
			f.Advice = fmt.Sprintf("if it is a shop in another folder, run make down there; else kill %d", o.pid)
		}
	case o.uid != "":
		f.Found += fmt.Sprintf(" by a process of %s that this user may not inspect", e.UserName(o.uid))
		f.Advice = fmt.Sprintf("sudo ss -ltnp 'sport = :%d' names it", p.Number)
	case e.wsl():
		f.Advice = fmt.Sprintf("a program of Windows may hold it: netstat -ano | findstr :%d in PowerShell", p.Number)
	case e.OS == "windows":
		f.Advice = fmt.Sprintf("netstat -ano | findstr :%d names the process", p.Number)
	default:
		f.Advice = fmt.Sprintf("lsof -nP -iTCP:%d -sTCP:LISTEN names the process", p.Number)
	}
	if variable := portVariable(p.Name); e.way(ctx) == Docker && variable != "" {
		f.Advice += fmt.Sprintf("; or publish another one: %s=%d make up", variable, p.Number+1)
	}
	return f
}

// parts are the names of the processes of a shop. /proc cuts them to 15 bytes.
func parts() []string {
	return append(servers(), "inventory-srv", "wallet", "order-srv", "api-gateway", "holdfast")
}

// portVariable returns the variable of .env that changes a published port.
func portVariable(part string) string {
	return map[string]string{"api-gateway": "GATEWAY_PORT", "mysql": "MYSQL_PORT", "redis": "REDIS_PORT"}[part]
}
