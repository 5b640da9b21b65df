package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// composeProject is the name of the project in docker-compose.yml, unless COMPOSE_PROJECT_NAME has another one.
const composeProject = "holdfast"

// The oldest versions with which docker-compose.yml works: it uses start_interval.
const (
	minEngine  = "25"
	minCompose = "2.20"
)

// dockerFacts is what Docker answers.
type dockerFacts struct {
	err        error  // of the engine; nil if it answers
	said       string // by the client, if the engine does not answer
	engine     string // version
	system     string // on which the engine runs: "Debian GNU/Linux 12", "Docker Desktop"
	memory     uint64 // bytes
	root       string // folder of images and volumes
	compose    string // version; "" if the plugin is missing
	containers []container
	name       string // of Holdfast's project
}

// container is a container of any project.
type container struct {
	name, project, service, status string
	ports                          []int // published
}

// usable reports whether `make up` would use Docker.
func (d dockerFacts) usable() bool { return d.err == nil && d.compose != "" }

// project returns the containers of Holdfast.
func (d dockerFacts) project() []container {
	return slices.DeleteFunc(slices.Clone(d.containers), func(c container) bool { return c.project != d.name })
}

// askDocker runs three commands of the client concurrently.
func (e *exam) askDocker(ctx context.Context) dockerFacts {
	d := dockerFacts{name: cmp.Or(e.Getenv("COMPOSE_PROJECT_NAME"), composeProject)}
	var asking sync.WaitGroup
	asking.Go(func() {
		var text string
		text, d.err = e.ask(ctx, "docker", "info", "--format", "{{.ServerVersion}}\t{{.OperatingSystem}}\t{{.MemTotal}}\t{{.DockerRootDir}}")
		fields := strings.Split(text, "\t")
		if d.err == nil && len(fields) == 4 && fields[0] != "" {
			d.engine, d.system, d.root = version(fields[0]), fields[1], fields[3]
			d.memory, _ = strconv.ParseUint(fields[2], 10, 64) // 0: unknown
			return
		}
		if d.said = text; d.err == nil { // older clients exit with status 0
			d.err = errors.New("the engine does not answer")
		}
	})
	asking.Go(func() {
		if text, err := e.ask(ctx, "docker", "compose", "version", "--short"); err == nil {
			d.compose = version(text)
		}
	})
	asking.Go(func() {
		text, err := e.ask(ctx, "docker", "ps", "--all", "--no-trunc", "--format",
			`{{.Names}}\t{{.Label "com.docker.compose.project"}}\t{{.Label "com.docker.compose.service"}}\t{{.Status}}\t{{.Ports}}`)
		if err == nil {
			d.containers = parseContainers(text)
		}
	})
	asking.Wait()
	return d
}

func parseContainers(text string) []container {
	var list []container
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) == 5 {
			list = append(list, container{name: f[0], project: f[1], service: f[2], status: f[3], ports: published(f[4])})
		}
	}
	return list
}

// published returns the ports in a text such as "127.0.0.1:8080->8080/tcp, [::]:9000-9001->9000-9001/tcp".
func published(text string) []int {
	var ports []int
	for _, m := range regexp.MustCompile(`:(\d+)(?:-(\d+))?->`).FindAllStringSubmatch(text, -1) {
		first, _ := strconv.Atoi(m[1]) // digits only
		last, err := strconv.Atoi(m[2])
		if err != nil {
			last = first
		}
		for p := first; p <= last; p++ {
			ports = append(ports, p)
		}
	}
	return ports
}

func checkDocker(ctx context.Context, e *exam) []Finding {
	d := e.docker(ctx)
	f := Finding{Level: OK, Found: fmt.Sprintf("engine %s on %s, Compose %s", d.engine, d.system, d.compose)}
	switch {
	case errors.Is(d.err, errMissing):
		f = Finding{Level: Problem, Found: "docker is not installed", Advice: "install Docker Engine " + minEngine +
			" or newer with the Compose plugin, or Docker Desktop: https://docs.docker.com/engine/install/"}
	case errors.Is(d.err, errNoAnswer):
		f = Finding{
			Level: Problem, Found: "the engine does not answer", Advice: "restart Docker; meanwhile make up NATIVE=1 needs no engine",
		}
	case d.err != nil:
		f = Finding{Level: Problem, Found: firstLine(d.said, d.err), Advice: engineAdvice(d.said, e.OS)}
	case !atLeast(d.engine, minEngine):
		f.Level, f.Advice = Problem, "install Docker Engine "+minEngine+" or newer: older engines refuse start_interval"
	case d.compose == "":
		f.Level, f.Found = Problem, fmt.Sprintf("engine %s on %s, but no Compose plugin", d.engine, d.system)
		f.Advice = "install docker-compose-plugin (docker-compose-v2 on Ubuntu)"
	case !atLeast(d.compose, minCompose):
		f.Level, f.Advice = Problem, "install Compose "+minCompose+" or newer"
	}
	return []Finding{f}
}

func engineAdvice(said, system string) string {
	switch {
	case strings.Contains(said, "permission denied"):
		return "allow your user to use Docker: sudo usermod -aG docker $USER, then log in again"
	case system != "linux":
		return "start Docker Desktop"
	}
	return "start the engine: sudo systemctl start docker; in WSL, start Docker Desktop and turn on its WSL integration"
}
