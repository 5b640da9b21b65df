package compose

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"holdfast/deploy/rocketmq"
)

const root = "../.."

// memoryLimit is the limit for all services together. It fits a laptop with 4 GB.
const memoryLimit = 2500 << 20

// load reads docker-compose.yml with all profiles, like compose, but without this machine's environment.
func load(t *testing.T) *types.Project {
	t.Helper()
	o, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yml")},
		cli.WithWorkingDirectory(root), cli.WithEnvFiles(), cli.WithDotEnv, cli.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ours returns the services that are built from this repository, by program.
func ours(t *testing.T, p *types.Project) map[string]types.ServiceConfig {
	t.Helper()
	m := make(map[string]types.ServiceConfig)
	for name, s := range p.Services {
		if s.Build != nil {
			m[name] = s
		}
	}
	if len(m) < 4 {
		t.Fatalf("only %d services are built here", len(m))
	}
	return m
}

func program(s types.ServiceConfig) string {
	if v := s.Build.Args["SERVICE"]; v != nil {
		return *v
	}
	return ""
}

func TestDependenciesCanBeMet(t *testing.T) {
	p := load(t)
	for name, s := range p.Services {
		for on, d := range s.DependsOn {
			target := p.Services[on]
			probed := target.HealthCheck != nil && !target.HealthCheck.Disable
			switch d.Condition {
			case types.ServiceConditionHealthy:
				if !probed {
					t.Errorf("%s waits for %s to be healthy, which has no health check", name, on)
				}
			case types.ServiceConditionCompletedSuccessfully:
				if probed {
					t.Errorf("%s waits for %s to end, which has a health check like a server", name, on)
				}
			default:
				t.Errorf("%s depends on %s with the condition %q, which waits for nothing", name, on, d.Condition)
			}
		}
	}
}

// `up --wait` fails when a container ends, unless another service waits for its end.
func TestOneShotsAreWaitedFor(t *testing.T) {
	p := load(t)
	awaited := make(map[string]bool)
	for _, s := range p.Services {
		for on, d := range s.DependsOn {
			awaited[on] = awaited[on] || d.Condition == types.ServiceConditionCompletedSuccessfully
		}
	}
	for name, s := range p.Services {
		probed := s.HealthCheck != nil && !s.HealthCheck.Disable
		if !probed && !awaited[name] && len(s.Profiles) == 0 {
			t.Errorf("%s has no health check, and no service waits for its end", name)
		}
	}
}

func TestMountsExist(t *testing.T) {
	p := load(t)
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind {
				continue
			}
			if _, err := os.Stat(v.Source); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if !v.ReadOnly {
				t.Errorf("%s may write to %s", name, v.Source)
			}
			if strings.HasPrefix(v.Source, filepath.Join(p.WorkingDir, "sql")) {
				t.Errorf("%s mounts the migrations, whose Down parts would be run too", name)
			}
		}
	}
}

func TestTagsArePinned(t *testing.T) {
	p := load(t)
	pinned := regexp.MustCompile(`^[a-z0-9./-]+:[0-9][a-z0-9.-]*$`) // no digest: it would need a registry at each start
	for name, s := range p.Services {
		if (s.Image == "") == (s.Build == nil) {
			t.Errorf("%s needs an image or a build", name)
		}
		if s.Image != "" && !pinned.MatchString(s.Image) {
			t.Errorf("%s runs %q, which has no version", name, s.Image)
		}
	}
	if got, want := p.Services["broker"].Image, "apache/rocketmq:"+rocketmq.Version; got != want {
		t.Errorf("the broker is %s here and %s natively", got, want)
	}
	for i, line := range lines(t, "Dockerfile") {
		image, ok := strings.CutPrefix(line, "FROM ")
		image, _, _ = strings.Cut(image, " ")
		if ok && (!strings.Contains(image, ":") || strings.HasSuffix(image, ":latest")) {
			t.Errorf("Dockerfile:%d: %s has no version", i+1, image)
		}
		if strings.HasPrefix(line, "# syntax=") {
			t.Errorf("Dockerfile:%d fetches a front end from a registry", i+1)
		}
	}
}

func TestPortsAreUniqueAndOnLoopback(t *testing.T) {
	p := load(t)
	taken := make(map[string]string)
	for name, s := range p.Services {
		for _, port := range s.Ports {
			if other, ok := taken[port.Published]; ok {
				t.Errorf("%s and %s both publish %s", name, other, port.Published)
			}
			taken[port.Published] = name
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s publishes %s on %q", name, port.Published, port.HostIP)
			}
			if port.Target == 9090 {
				t.Errorf("%s publishes its operations port", name)
			}
		}
	}
	if len(taken) == 0 {
		t.Fatal("nothing is published")
	}
}

func TestHardened(t *testing.T) {
	p := load(t)
	var sum types.UnitBytes
	for name, s := range p.Services {
		sum += s.MemLimit
		if s.MemLimit == 0 {
			t.Errorf("%s has no memory limit", name)
		}
		if !s.ReadOnly {
			t.Errorf("%s can write to its image", name)
		}
		if !slices.Contains(s.CapDrop, "ALL") {
			t.Errorf("%s has capabilities", name)
		}
		root := s.User == "" || s.User == "root" || strings.HasPrefix(s.User, "0")
		if root && name != "rocketmq-init" {
			t.Errorf("%s runs as root", name)
		}
		if s.ContainerName != "" {
			t.Errorf("%s has a container's name, and cannot be scaled", name)
		}
	}
	if sum > memoryLimit {
		t.Errorf("the memory limits add up to %d MB", sum>>20)
	}
}

// On a public address a service starts only with its own credential, or with the demo value in lab mode.
func TestServiceCredential(t *testing.T) {
	p := load(t)
	for name, s := range ours(t, p) {
		if program(s) == "holdfast" {
			continue
		}
		credential, lab := s.Environment["SERVICE_CREDENTIAL"], s.Environment["LAB_MODE"]
		if credential == nil || *credential != "holdfast-demo-service-credential-change-me" || lab == nil || *lab != "true" {
			t.Errorf("%s: neither a credential of its own nor the demo value with lab mode", name)
		}
	}
}

func TestEnvironmentIsRead(t *testing.T) {
	p := load(t)
	for name, s := range ours(t, p) {
		known := append(variables(t, program(s)), "GOMEMLIMIT") // read by the Go runtime
		for _, v := range slices.Sorted(maps.Keys(s.Environment)) {
			if !slices.Contains(known, v) {
				t.Errorf("%s: the program does not read %s; %s reads %s", name, v, program(s), strings.Join(known, " "))
			}
			if v == "INSTANCE_ID" {
				t.Errorf("%s: replicas would share the INSTANCE_ID", name)
			}
		}
	}
}

// No proxy may be written into the build, and every program must have an image.
func TestBuilds(t *testing.T) {
	p := load(t)
	built := make(map[string]bool)
	for name, s := range ours(t, p) {
		built[program(s)] = true
		if _, err := os.Stat(filepath.Join(s.Build.Context, s.Build.Dockerfile)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for arg, value := range s.Build.Args {
			if strings.HasPrefix(arg, "GO") && value != nil {
				t.Errorf("%s: the build argument %s must come from the environment", name, arg)
			}
		}
	}
	for _, want := range []string{"api-gateway", "order-srv", "inventory-srv", "holdfast"} {
		if !built[want] {
			t.Errorf("no service runs %s", want)
		}
	}
}

// variables returns the variables that a program reads: the env tags of the Go files in its folder and in internal/app.
func variables(t *testing.T, program string) []string {
	t.Helper()
	dir := filepath.Join(root, program)
	if program == "holdfast" {
		dir = filepath.Join(root, "cmd", program)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	settings, err := filepath.Glob(filepath.Join(dir, "internal", "app", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, settings...)
	if program != "holdfast" {
		files = append(files, filepath.Join(root, "pkg", "config", "credential.go")) // embedded in each service's settings
	}
	var found []string
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			field, ok := n.(*ast.Field)
			if !ok || field.Tag == nil {
				return true
			}
			tag, err := strconv.Unquote(field.Tag.Value)
			if err != nil {
				t.Fatal(err)
			}
			if v := reflect.StructTag(tag).Get("env"); v != "" {
				found = append(found, v)
			}
			return true
		})
	}
	if len(found) == 0 {
		t.Fatalf("%s reads no variable: has its configuration moved?", dir)
	}
	return found
}

func lines(t *testing.T, name string) []string {
	t.Helper()
	f, err := os.Open(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []string
	s := bufio.NewScanner(f)
	for s.Scan() {
		all = append(all, s.Text())
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
