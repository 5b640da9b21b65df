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
	"holdfast/pkg/crash"
)

const root = "../.."

// The limits for all services of the shop together, which fit a laptop with 4 GB, and for a command beside them.
const (
	memoryLimit = 2500 << 20
	toolLimit   = 384 << 20
	goLimit     = 1536 << 20 // for the command that compiles
)

// reports is the folder of the repository to which the command line writes.
const reports = "compare"

// load reads docker-compose.yml, and overlays, with all profiles, like compose, but without this machine's environment.
// env has variables of the form NAME=VALUE.
func load(t *testing.T, env []string, overlays ...string) *types.Project {
	t.Helper()
	var files []string
	for _, name := range append([]string{"docker-compose.yml"}, overlays...) {
		files = append(files, filepath.Join(root, name))
	}
	o, err := cli.NewProjectOptions(files,
		cli.WithWorkingDirectory(root), cli.WithEnv(env), cli.WithEnvFiles(), cli.WithDotEnv, cli.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ours returns the services that are built from this repository.
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

// program returns what runs in a service's image: the program that SERVICE names, or the image's target.
func program(s types.ServiceConfig) string {
	if v := s.Build.Args["SERVICE"]; v != nil && s.Build.Target == "service" {
		return *v
	}
	return s.Build.Target
}

// loadTest reports whether a program is a load test.
func loadTest(program string) bool { return program == "k6" || program == "vegeta" }

func TestDependenciesCanBeMet(t *testing.T) {
	p := load(t, nil)
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
	p := load(t, nil)
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
	p := load(t, nil)
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind {
				continue
			}
			if v.Source == filepath.Join(p.WorkingDir, reports) {
				if name != "init" && name != "holdfast" {
					t.Errorf("%s may write reports", name)
				}
				continue // it is made at the first start
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
	p := load(t, nil)
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
		if strings.HasPrefix(line, "# syntax=") {
			t.Errorf("Dockerfile:%d fetches a front end from a registry", i+1)
		}
		image, ok := strings.CutPrefix(line, "FROM ")
		image, _, _ = strings.Cut(image, " ")
		if ok && strings.ContainsAny(image, ":/") {
			t.Errorf("Dockerfile:%d: %s cannot be replaced by a build argument", i+1, image)
		}
	}
}

// The base images have the same names in .env and, for a build without compose, in the Dockerfile.
func TestBaseImages(t *testing.T) {
	p := load(t, nil)
	pinned := regexp.MustCompile(`^[a-z0-9./-]+:[a-z0-9.-]+$`)
	found := 0
	for _, line := range lines(t, "Dockerfile") {
		m := regexp.MustCompile(`^ARG (GOLANG_IMAGE|DISTROLESS_IMAGE|DEBIAN_IMAGE)=(.*)`).FindStringSubmatch(line)
		if m == nil {
			continue
		}
		found++
		if !pinned.MatchString(m[2]) || strings.HasSuffix(m[2], ":latest") {
			t.Errorf("%s is %s, which has no version", m[1], m[2])
		}
		for name, s := range ours(t, p) {
			if got := s.Build.Args[m[1]]; got == nil || *got != m[2] {
				t.Errorf("%s is built with another %s than the Dockerfile's %s", name, m[1], m[2])
			}
		}
	}
	if found != 3 {
		t.Errorf("the Dockerfile names %d base images, want 3", found)
	}
}

// make load and the images use the same versions of k6 and vegeta.
func TestToolVersions(t *testing.T) {
	makefile, dockerfile := strings.Join(lines(t, "Makefile"), "\n"), strings.Join(lines(t, "Dockerfile"), "\n")
	for variable, module := range map[string]string{"K6_VERSION": "go.k6.io/k6", "VEGETA_VERSION": "github.com/tsenart/vegeta/v12"} {
		m := regexp.MustCompile(`(?m)^` + variable + ` +:= (.*)$`).FindStringSubmatch(makefile)
		if m == nil || !strings.Contains(dockerfile, module+"@"+m[1]+"\n") {
			t.Errorf("the Dockerfile does not install %s in the Makefile's version, %q", module, m)
		}
	}
}

func TestPortsAreUniqueAndOnLoopback(t *testing.T) {
	p := load(t, nil)
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
	p := load(t, nil)
	var sum types.UnitBytes
	for name, s := range p.Services {
		limit := types.UnitBytes(toolLimit)
		if name == "exercises" {
			limit = goLimit
		}
		if !slices.Contains(s.Profiles, "tools") { // these run one at a time
			sum += s.MemLimit
		} else if s.MemLimit > limit {
			t.Errorf("%s may use %d MB", name, s.MemLimit>>20)
		}
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
		if root && name != "init" {
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
	p := load(t, nil)
	for name, s := range ours(t, p) {
		if s.Build.Target != "service" {
			continue
		}
		credential, lab := s.Environment["SERVICE_CREDENTIAL"], s.Environment["LAB_MODE"]
		if credential == nil || *credential != "holdfast-demo-service-credential-change-me" || lab == nil || *lab != "true" {
			t.Errorf("%s: neither a credential of its own nor the demo value with lab mode", name)
		}
	}
}

func TestEnvironmentIsRead(t *testing.T) {
	p := load(t, nil)
	for name, s := range ours(t, p) {
		reads := program(s)
		if slices.Equal(s.Command, []string{"wallet"}) { // order-srv's program in a process of its own
			reads = "order-srv/internal/wallet"
		}
		known := append(variables(t, reads), "GOMEMLIMIT") // read by the Go runtime
		for _, v := range slices.Sorted(maps.Keys(s.Environment)) {
			if !slices.Contains(known, v) {
				t.Errorf("%s: the program does not read %s; %s reads %s", name, v, reads, strings.Join(known, " "))
			}
			if v == "INSTANCE_ID" {
				t.Errorf("%s: replicas would share the INSTANCE_ID", name)
			}
		}
	}
}

// No proxy may be written into the build, and every program must have an image.
func TestBuilds(t *testing.T) {
	p := load(t, nil)
	built := make(map[string]bool)
	for name, s := range ours(t, p) {
		built[program(s)] = true
		if _, err := os.Stat(filepath.Join(s.Build.Context, s.Build.Dockerfile)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for arg, value := range s.Build.Args {
			if strings.HasPrefix(arg, "GO") && arg != "GOLANG_IMAGE" && value != nil {
				t.Errorf("%s: the build argument %s must come from the environment", name, arg)
			}
		}
	}
	for _, want := range []string{"api-gateway", "order-srv", "inventory-srv", "holdfast", "exercises", "k6", "vegeta"} {
		if !built[want] {
			t.Errorf("no service runs %s", want)
		}
	}
}

// TestCrashOverlay checks what a service needs to die at a crash point in a container, and to stay dead.
func TestCrashOverlay(t *testing.T) {
	p := load(t, []string{"CRASH_AT=order-srv@reserved"}, "docker-compose.crash.yml")
	for _, name := range []string{"order-srv", "inventory-srv", "wallet"} {
		s := p.Services[name]
		if tags := s.Build.Args["TAGS"]; tags == nil || *tags != crash.Tag {
			t.Errorf("%s is built without crash points", name)
		}
		if at := s.Environment[crash.EnvAt]; at == nil || *at != "order-srv@reserved" {
			t.Errorf("%s is not armed", name)
		}
		if s.Restart != "no" {
			t.Errorf("%s is started again (%s)", name, s.Restart)
		}
		if s.Init == nil || !*s.Init {
			t.Errorf("%s is the first process of its container, which cannot kill itself", name)
		}
		marks := s.Environment[crash.EnvMarks]
		if marks == nil || !slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool {
			return v.Type == types.VolumeTypeVolume && v.Target == *marks
		}) {
			t.Errorf("%s has no volume for its marks", name)
		}
	}
}

// TestMineOverlay: inventory-srv is built from the learner's folder too, which is no part of the other images.
func TestMineOverlay(t *testing.T) {
	p := load(t, nil, "docker-compose.mine.yml")
	build := p.Services["inventory-srv"].Build
	if build.Target != "mine" || build.AdditionalContexts["learner"] != filepath.Join(p.WorkingDir, "exercises") {
		t.Errorf("inventory-srv is built as %q from %v", build.Target, build.AdditionalContexts)
	}
	if !slices.Contains(lines(t, "Dockerfile"), "COPY --from=learner . exercises/") {
		t.Error("the Dockerfile does not copy the learner's folder")
	}
	for _, line := range lines(t, ".dockerignore") {
		if strings.HasPrefix(line, "!exercises") && line != "!exercises/go.mod" && line != "!exercises/go.sum" {
			t.Errorf(".dockerignore has %s: each change of an exercise would make all images anew", line)
		}
	}
}

// variables returns the variables that a program reads.
func variables(t *testing.T, program string) []string {
	t.Helper()
	if loadTest(program) {
		return matches(t, filepath.Join(root, "loadtest", program, "*"), `(?:__ENV\.|number\('|\$\{)([A-Z_0-9]+)`)
	}
	found := tagged(t, program)
	if program == "holdfast" || program == "exercises" {
		found = append(found, matches(t, filepath.Join(root, "internal", "lab", "step", "text.go"), `getenv\("([A-Z_]+)"\)`)...)
		found = append(found, matches(t, filepath.Join(root, "internal", "dev", "stack", "private.go"), `getenv\("([A-Z_]+)"\)`)...)
	}
	return found
}

// matches returns what the first group of a regular expression matches in files.
func matches(t *testing.T, pattern, expression string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(files), err)
	}
	var found []string
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(expression).FindAllStringSubmatch(string(text), -1) {
			found = append(found, m[1])
		}
	}
	return found
}

// tagged returns the env tags of the Go files in a program's folder and in its internal/app.
func tagged(t *testing.T, program string) []string {
	t.Helper()
	dir := filepath.Join(root, program)
	switch program {
	case "holdfast":
		dir = filepath.Join(root, "cmd", program)
	case "exercises":
		dir = filepath.Join(root, "exercises", "cmd", program)
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
	if program != "holdfast" && program != "exercises" {
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
