package doctor_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/doctor"
)

// TestExamine_way: auto goes the way of deploy/way.
func TestExamine_way(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		set  func(m *machine)
		want doctor.Way
	}{
		{"an engine answers", func(*machine) {}, doctor.Docker},
		{"no engine", func(m *machine) { m.missing("docker") }, doctor.Native},
		{"NATIVE=1", func(m *machine) { m.env["NATIVE"] = "1" }, doctor.Native},
		{"BROKER", func(m *machine) { m.env["BROKER"] = "devbroker" }, doctor.Native},
		{"processes run", func(m *machine) { m.state(`{"components":[{"name":"mysql","pid":1,"marker":"x"}]}`) }, doctor.Native},
		{"containers run", func(m *machine) {
			m.env["NATIVE"], m.outputs[dockerPS] = "1", "holdfast-redis-1\tholdfast\tredis\tUp\t"
		}, doctor.Docker},
	} {
		m := newMachine(t)
		m.options.Way = doctor.Auto
		tt.set(m)
		if got := m.examine().Way; got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestExamine_hangs: a Docker client that hangs costs its own findings and no others, and the examination ends in time.
func TestExamine_hangs(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	// The child keeps the output open after the client was killed.
	script := "#!/bin/sh\nsleep 300 & wait\n"
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	m := newMachine(t)
	fake := m.Output
	m.Output = func(ctx context.Context, program string, args ...string) (string, error) {
		if program == "docker" {
			return doctor.This().Output(ctx, filepath.Join(bin, "docker"), args...)
		}
		return fake(ctx, program, args...)
	}
	m.options.Way = doctor.Docker
	begin := time.Now()
	r := m.examine()
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if f := find(r, "docker")[0]; f.Level != doctor.Problem || !strings.Contains(f.Found, "does not answer") {
		t.Errorf("%+v", f)
	}
	if f := find(r, "ports")[0]; f.Level != doctor.OK {
		t.Errorf("the ports need no Docker: %+v", f)
	}
}

// TestExamine_stuck: a check that ignores its deadline is abandoned.
func TestExamine_stuck(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	stuck := make(chan struct{})
	t.Cleanup(func() { close(stuck) })
	m.MaxFiles = func() (uint64, error) { <-stuck; return 0, nil }
	if f := find(m.examine(), "files"); len(f) != 1 || f[0].Level != doctor.Warning || f[0].Found != "no answer within 3s" {
		t.Errorf("%+v", f)
	}
}

// TestExamine_noProgramAnswers: on a machine on which no program answers in time, and Docker's client does not even
// stop, the examination finds what needs no program.
func TestExamine_noProgramAnswers(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.state("{nonsense")
	stuck := make(chan struct{})
	t.Cleanup(func() { close(stuck) })
	m.Output = func(ctx context.Context, program string, _ ...string) (string, error) {
		if strings.Contains(program, "docker") {
			<-stuck
		}
		return doctor.This().Output(ctx, "sleep", "300")
	}
	r := m.examine()
	found := map[doctor.Level]string{}
	for _, f := range find(r, "leftovers") {
		found[f.Level] = f.Found
	}
	if !strings.Contains(found[doctor.Problem], "state.json") || found[doctor.Warning] != "no answer within 3s" {
		t.Errorf("leftovers: %v", found)
	}
	for _, name := range []string{"go", "programs", "java"} {
		for _, f := range find(r, name) {
			if f.Level == doctor.Problem || strings.Contains(f.Found, "no answer within") {
				t.Errorf("%s: %+v; want what was found without an answer", name, f)
			}
		}
	}
}

// TestExamine_unwritable: a state folder that cannot be written is a problem.
func TestExamine_unwritable(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.file(filepath.Join(m.options.Dir), "a file, not a folder")
	var found bool
	for _, f := range find(m.examine(), "disk") {
		found = found || f.Level == doctor.Problem && strings.Contains(f.Advice, "--dir")
	}
	if !found {
		t.Error("no finding says that the state cannot be written")
	}
}

// TestThis_noPath: without PATH the doctor of this machine still reports, and finds no program.
func TestThis_noPath(t *testing.T) {
	t.Setenv("PATH", "")
	r := doctor.Examine(t.Context(), doctor.This(), doctor.Options{Dir: t.TempDir(), Way: doctor.Docker})
	if f := find(r, "docker"); len(f) != 1 || f[0].Level != doctor.Problem || f[0].Found != "docker is not installed" {
		t.Errorf("%+v", f)
	}
}

func TestReport_Print(t *testing.T) {
	t.Parallel()
	r := doctor.Report{Way: doctor.Native, Problems: 1, Findings: []doctor.Finding{
		{Check: "java", Level: doctor.OK, Found: "java 17"},
		{Check: "ports", Level: doctor.Problem, Found: "8080 is in use", Advice: "kill 4711"},
		{Check: "proxy", Level: doctor.Warning, Found: "x"},
	}}
	var plain, colored bytes.Buffer
	if err := r.Print(&plain, false, doctor.English); err != nil {
		t.Fatal(err)
	}
	want := "ok       java       java 17\nproblem  ports      8080 is in use\n                    -> kill 4711\nwarning  proxy      x\n"
	if plain.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &plain, want)
	}
	if err := r.Print(&colored, true, doctor.English); err != nil {
		t.Fatal(err)
	}
	if got := regexp.MustCompile(`\x1b\[[0-9]*m`).ReplaceAllString(colored.String(), ""); got != want || colored.String() == want {
		t.Errorf("with colours: %q", colored.String())
	}
	if got := r.Summary(); got != "1 problem would stop make up as plain processes (0 warnings)" {
		t.Error(got)
	}
	if got := r.Bearing().Findings; len(got) != 1 || got[0].Check != "ports" {
		t.Errorf("%+v", got)
	}
}

// TestLimits compares the constants with the files from which they come.
func TestLimits(t *testing.T) {
	t.Parallel()
	compose, err := os.ReadFile("../../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	gomod, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if got := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(gomod)); len(got) != 2 || got[1] != doctor.MinGo {
		t.Errorf("go.mod names %q, the doctor %s", got, doctor.MinGo)
	}
	if total := limits(t, string(compose)); total < doctor.ComposeLimits*95/100 || total > doctor.ComposeLimits*105/100 {
		t.Errorf("mem_limit adds up to %d in docker-compose.yml, and to %d in the doctor", total, doctor.ComposeLimits)
	}
}

// limits adds up mem_limit of the services that stay and have no profile. A service without a limit has that of
// x-service.
func limits(t *testing.T, compose string) uint64 {
	t.Helper()
	limit := regexp.MustCompile(`(?m)^ +mem_limit: (\d+)m`)
	head, services, ok := strings.Cut(compose, "\nservices:\n")
	inherited := limit.FindStringSubmatch(head)
	if !ok || inherited == nil {
		t.Fatal("docker-compose.yml has no services or no common limit")
	}
	services, _, _ = strings.Cut(services, "\nvolumes:\n")
	total := uint64(0)
	name := regexp.MustCompile(`(?m)^  ([a-z0-9-]+):`)
	names := name.FindAllStringSubmatch(services, -1)
	for i, service := range name.Split(services, -1)[1:] {
		ends := names[i][1] == "init" || names[i][1] == "seed"
		if ends || strings.Contains(service, "profiles:") || strings.Contains(service, "<<: *redlock") || strings.Contains(service, "<<: *tool") {
			continue
		}
		own := limit.FindStringSubmatch(service)
		if own == nil {
			own = inherited
		}
		mib, err := strconv.ParseUint(own[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		total += mib << 20
	}
	return total
}
