package doctor_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/disk"
	"holdfast/internal/dev/doctor"
	"holdfast/internal/dev/stack"
)

// machine is a healthy machine with plain processes and with Docker. Its files are in a temporary folder.
type machine struct {
	doctor.Machine
	t        *testing.T
	env      map[string]string
	outputs  map[string]string // by command; "!" before the text: the command fails
	programs []stack.Program
	taken    map[int]bool
	options  doctor.Options
}

const dockerPS = `docker ps --all --no-trunc --format {{.Names}}\t{{.Label "com.docker.compose.project"}}` +
	`\t{{.Label "com.docker.compose.service"}}\t{{.Status}}\t{{.Ports}}`

const dockerInfo = "docker info --format {{.ServerVersion}}\t{{.OperatingSystem}}\t{{.MemTotal}}\t{{.DockerRootDir}}"

func newMachine(t *testing.T) *machine {
	t.Helper()
	root := t.TempDir()
	m := &machine{
		t: t, env: map[string]string{}, taken: map[int]bool{},
		outputs: map[string]string{
			"go version":                      "go version go1.26.0 linux/amd64",
			"go env GOPROXY GOFLAGS":          "https://proxy.golang.org,direct\n",
			dockerInfo:                        "28.5.2+dfsg4\tDebian GNU/Linux 12\t8000000000\t" + root,
			"docker compose version --short":  "v2.40.3-3",
			dockerPS:                          "",
			"/usr/sbin/mariadbd --version":    "mariadbd  Ver 10.11.14-MariaDB for debian-linux-gnu on x86_64",
			"/usr/bin/redis-server --version": "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc",
			"/usr/bin/java -version":          `openjdk version "17.0.15" 2025-04-15`,
		},
		programs: []stack.Program{
			{Name: "MySQL or MariaDB", For: "the shop", Looked: []string{"mariadbd", "mysqld"}, Path: "/usr/sbin/mariadbd"},
			{Name: "Redis", For: "the shop", Looked: []string{"redis-server"}, Path: "/usr/bin/redis-server"},
			{Name: "Java 17 or newer", For: "RocketMQ", Looked: []string{"java"}, Path: "/usr/bin/java"},
		},
		options: doctor.Options{Dir: filepath.Join(root, ".run"), Way: doctor.Native},
	}
	m.Machine = doctor.Machine{
		OS: "linux", CPUs: 2, Proc: filepath.Join(root, "proc"), Cgroup: filepath.Join(root, "cgroup"), Home: root, Cache: filepath.Join(root, "cache"),
		DotEnv: filepath.Join(root, ".env"),
		Getenv: func(name string) string { return m.env[name] },
		Look:   func(program string) (string, error) { return program, nil },
		Output: func(_ context.Context, program string, args ...string) (string, error) {
			text, ok := m.outputs[strings.Join(append([]string{program}, args...), " ")]
			if text, fails := strings.CutPrefix(text, "!"); fails || !ok {
				return text, errors.New("exit status 1")
			}
			return text, nil
		},
		PortFree: func(port int) error {
			if m.taken[port] {
				return errors.New("in use")
			}
			return nil
		},
		Space:    func(string) (disk.Usage, error) { return disk.Usage{Free: 50e9, Used: 50e9}, nil },
		MaxFiles: func() (uint64, error) { return 1 << 20, nil },
		UserName: func(uid string) string { return "user " + uid },
		Programs: func() []stack.Program { return m.programs },
		RocketMQ: func() error { return nil },
	}
	m.proc("meminfo", "MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n")
	return m
}

// proc writes a file of /proc.
func (m *machine) proc(name, text string) { m.file(filepath.Join(m.Proc, name), text) }

func (m *machine) file(path, text string) {
	m.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) examine() doctor.Report {
	return doctor.Examine(m.t.Context(), m.Machine, m.options)
}

// find returns the findings of a check.
func find(r doctor.Report, check string) []doctor.Finding {
	var found []doctor.Finding
	for _, f := range r.Findings {
		if f.Check == check {
			found = append(found, f)
		}
	}
	return found
}

// TestExamine_healthy: a machine that has everything has no problem, on each way.
func TestExamine_healthy(t *testing.T) {
	t.Parallel()
	for _, way := range []doctor.Way{doctor.Native, doctor.Docker} {
		m := newMachine(t)
		m.options.Way = way
		r := m.examine()
		if r.Problems+r.Warnings != 0 || r.Way != way {
			t.Errorf("%s: %+v", way, r)
		}
	}
}

// TestExamine_findings breaks one thing at a time.
func TestExamine_findings(t *testing.T) {
	t.Parallel()
	const native, inDocker = doctor.Native, doctor.Docker
	for _, tt := range []struct {
		name   string
		way    doctor.Way
		breaks func(m *machine)
		check  string
		level  doctor.Level
		says   string
		advice string
	}{
		{"Windows", native, func(m *machine) { m.OS = "windows" }, "system", doctor.Problem, "windows/", "WSL 2"},
		{"Windows with Docker", inDocker, func(m *machine) { m.OS = "windows" }, "system", doctor.Note, "windows/", ""},
		{"WSL on a Windows drive", native, func(m *machine) {
			m.proc("sys/kernel/osrelease", "5.15.153.1-microsoft-standard-WSL2")
			m.options.Dir = "/mnt/c/holdfast/.run"
		}, "system", doctor.Warning, "Windows drive", "folder of Linux"},
		{"WSL", native, func(m *machine) { m.proc("sys/kernel/osrelease", "5.15.153.1-microsoft-standard-WSL2") }, "system", doctor.OK, "WSL", ""},

		{"a container", native, func(m *machine) { m.Container = true }, "system", doctor.OK, "in a container", ""},

		{"no Go", native, func(m *machine) { m.missing("go") }, "go", doctor.Warning, "go: not found", "https://go.dev/dl/"},
		{"old Go", native, func(m *machine) { m.outputs["go version"] = "go version go1.19.8 linux/amd64" }, "go", doctor.Problem, "1.19.8", "1.26"},
		{"Go that fetches", native, func(m *machine) { m.outputs["go version"] = "go version go1.24.3 linux/amd64" }, "go", doctor.Warning, "1.24.3", "GOPROXY"},
		{"GOPROXY off", native, func(m *machine) { m.outputs["go env GOPROXY GOFLAGS"] = "off\n" }, "go", doctor.Warning, "GOPROXY=off", "go env -u GOPROXY"},
		{"GOFLAGS", native, func(m *machine) { m.outputs["go env GOPROXY GOFLAGS"] = "direct\n-mod=vendor" }, "go", doctor.Warning, "-mod=vendor", "remove -mod"},
		{"password in GOPROXY", native, func(m *machine) { m.outputs["go env GOPROXY GOFLAGS"] = "https://u:secret@example.org\n" }, "go", doctor.OK, "u:xxxxx@example.org", ""},

		{"no Docker", inDocker, func(m *machine) { m.missing("docker") }, "docker", doctor.Problem, "not installed", "Docker Engine 25"},
		{"no Docker, natively", native, func(m *machine) { m.missing("docker") }, "docker", doctor.Note, "not installed", ""},
		{"old engine", inDocker, func(m *machine) { m.outputs[dockerInfo] = "20.10.24\tDebian\t8000000000\t" }, "docker", doctor.Problem, "20.10.24", "25"},
		{"no Compose", inDocker, func(m *machine) { delete(m.outputs, "docker compose version --short") }, "docker", doctor.Problem, "no Compose", "docker-compose-plugin"},
		{"old Compose", inDocker, func(m *machine) { m.outputs["docker compose version --short"] = "2.17.3" }, "docker", doctor.Problem, "2.17.3", "2.20"},
		{"daemon down", inDocker, func(m *machine) { m.outputs[dockerInfo] = "!Cannot connect to the Docker daemon" }, "docker", doctor.Problem, "Cannot connect", "systemctl start docker"},
		{"daemon forbidden", inDocker, func(m *machine) { m.outputs[dockerInfo] = "!permission denied while trying to connect" }, "docker", doctor.Problem, "permission denied", "usermod -aG docker"},

		{"no MySQL", native, func(m *machine) { m.lacks(0, "sudo apt-get install x", false) }, "programs", doctor.Problem, "MySQL or MariaDB is not installed", "apt-get install x"},
		{"up gets MySQL", native, func(m *machine) { m.lacks(0, "x", true) }, "programs", doctor.OK, "up gets it", ""},
		{"no MySQL, with Docker", inDocker, func(m *machine) { m.lacks(0, "x", false) }, "programs", doctor.Note, "is not installed", ""},
		{"old MariaDB", native, func(m *machine) {
			m.outputs["/usr/sbin/mariadbd --version"] = "mariadbd  Ver 10.5.23-MariaDB"
		}, "programs", doctor.Problem, "10.5.23 is too old", "10.6"},
		{"a server that warns first", native, func(m *machine) {
			m.outputs["/usr/sbin/mariadbd --version"] = "2026-11-29  8:30:46 0 [Warning] x\nmariadbd  Ver 10.11.14-MariaDB"
		}, "programs", doctor.OK, "mariadbd 10.11.14", ""},
		{"old Redis", native, func(m *machine) { m.outputs["/usr/bin/redis-server --version"] = "Redis server v=5.0.7" }, "programs", doctor.Problem, "5.0.7 is too old", "6.2"},

		{"no Java", native, func(m *machine) { m.RocketMQ = noJava }, "java", doctor.Warning, "no Java", "development broker"},
		{"no Java, and how to install it", native, func(m *machine) {
			m.RocketMQ = noJava
			m.lacks(2, "sudo apt-get install y", false)
		}, "java", doctor.Warning, "RocketMQ needs Java 17 or newer", "sudo apt-get install y, or stay"},
		{"no Java for RocketMQ", native, func(m *machine) { m.RocketMQ, m.options.Broker = noJava, "rocketmq" }, "java", doctor.Problem, "no Java", "BROKER=devbroker"},
		{"no Java for the development broker", native, func(m *machine) { m.RocketMQ, m.options.Broker = noJava, "devbroker" }, "java", doctor.OK, "not needed", ""},
		{"Java 11", native, func(m *machine) { m.outputs["/usr/bin/java -version"] = `openjdk version "11.0.27"` }, "java", doctor.Problem, "java 11.0.27 is too old", "JDK 17"},
		{"Java 8", native, func(m *machine) { m.outputs["/usr/bin/java -version"] = `java version "1.8.0_451"` }, "java", doctor.Problem, "java 8.0 is too old", "JDK 17"},
		{"the stub of macOS", native, func(m *machine) { m.outputs["/usr/bin/java -version"] = "!Unable to locate a Java Runtime." }, "java", doctor.Problem, "Unable to locate", "JDK 17"},

		{"little memory", native, func(m *machine) { m.proc("meminfo", "MemAvailable: 500000 kB\n") }, "memory", doctor.Warning, "512 MB available", "BROKER=devbroker"},
		{"no memory", native, func(m *machine) { m.proc("meminfo", "MemAvailable: 150000 kB\n") }, "memory", doctor.Problem, "154 MB available", "close"},
		{"a control group", native, func(m *machine) {
			m.file(filepath.Join(m.Cgroup, "memory.max"), "536870912\n")
			m.file(filepath.Join(m.Cgroup, "memory.current"), "300000000\n")
		}, "memory", doctor.Problem, "237 MB available of this control group's 537 MB", "close"},
		{"a control group of version 1", native, func(m *machine) {
			m.file(filepath.Join(m.Cgroup, "memory/memory.limit_in_bytes"), "536870912\n")
			m.file(filepath.Join(m.Cgroup, "memory/memory.usage_in_bytes"), "300000000\n")
		}, "memory", doctor.Problem, "237 MB available of this control group's 537 MB", "close"},
		{"a control group without a limit", native, func(m *machine) {
			m.file(filepath.Join(m.Cgroup, "memory/memory.limit_in_bytes"), "9223372036854771712\n")
			m.file(filepath.Join(m.Cgroup, "memory/memory.usage_in_bytes"), "300000000\n")
		}, "memory", doctor.OK, "8.2 GB available, needed", ""},
		{"a small engine", inDocker, func(m *machine) { m.outputs[dockerInfo] = "28.5.2\tDocker Desktop\t2000000000\t/x" }, "memory", doctor.Warning, "the engine has 2.0 GB", "Settings, Resources"},
		{"a tiny engine", inDocker, func(m *machine) { m.outputs[dockerInfo] = "28.5.2\tDocker Desktop\t1000000000\t/x" }, "memory", doctor.Problem, "the engine has 1.0 GB", "Settings, Resources"},
		{"unknown memory", native, func(m *machine) { m.proc("meminfo", "") }, "memory", doctor.OK, "unknown", ""},

		{"no space", native, func(m *machine) { m.space(1e6, 100e9) }, "disk", doctor.Problem, "1 MB free for the state", "free some space"},
		{"a full disk", native, func(m *machine) { m.space(5e9, 100e9) }, "disk", doctor.Problem, "95% used", "BROKER=devbroker"},
		{"a disk that is just full", native, func(m *machine) { m.space(999e7, 100e9) }, "disk", doctor.Problem, "91% used", "RocketMQ refuses every message"},
		{"a disk that is almost full", native, func(m *machine) { m.space(10e9, 100e9) }, "disk", doctor.OK, "90% used", ""},
		{"a full disk and the development broker", native, func(m *machine) {
			m.space(5e9, 100e9)
			m.env["BROKER"] = "devbroker"
		}, "disk", doctor.OK, "95% used", ""},
		{"a full disk without Java", native, func(m *machine) {
			m.space(5e9, 100e9)
			m.RocketMQ = noJava
		}, "disk", doctor.OK, "95% used", ""},
		{"a full disk of Docker", inDocker, func(m *machine) { m.space(5e9, 100e9) }, "disk", doctor.Warning, "95% used", "RocketMQ refuses"},
		{"little space", native, func(m *machine) { m.space(4e8, 1e9) }, "disk", doctor.Warning, "400 MB free", "free some space"},
		{"little space for images", inDocker, func(m *machine) { m.space(3e9, 10e9) }, "disk", doctor.Warning, "3.0 GB free for Docker", "free some space"},
		{"unknown space", native, func(m *machine) {
			m.Space = func(string) (disk.Usage, error) { return disk.Usage{}, errors.ErrUnsupported }
		}, "disk", doctor.OK, "unknown", ""},

		{"few files", native, func(m *machine) { m.MaxFiles = func() (uint64, error) { return 1024, nil } }, "files", doctor.Warning, "only 1024 files", "ulimit -Hn"},

		{"a proxy", native, func(m *machine) { m.env["http_proxy"] = "http://u:secret@proxy:3128" }, "proxy", doctor.Warning, "u:xxxxx@proxy:3128", "NO_PROXY=localhost"},
		{"a proxy, not for loopback", native, func(m *machine) {
			m.env["HTTP_PROXY"], m.env["NO_PROXY"] = "http://proxy:3128", "example.org, localhost"
		}, "proxy", doctor.OK, "not for 127.0.0.1", ""},
		{"a proxy for containers", inDocker, func(m *machine) {
			m.file(filepath.Join(m.Home, ".docker", "config.json"), `{"proxies":{"default":{"httpProxy":"http://proxy:3128","noProxy":"localhost"}}}`)
		}, "proxy", doctor.Problem, "gives containers a proxy", "order-srv"},
		{"a proxy for containers, not for services", inDocker, func(m *machine) {
			m.file(filepath.Join(m.Home, ".docker", "config.json"),
				`{"proxies":{"default":{"httpProxy":"http://proxy:3128","noProxy":"order-srv,inventory-srv"}}}`)
		}, "proxy", doctor.OK, "no HTTP proxy", ""},

		{"a state file of garbage", native, func(m *machine) { m.state("{nonsense") }, "leftovers", doctor.Problem, "state.json", "remove the file"},
		{"dead processes", native, func(m *machine) {
			m.state(`{"components":[{"name":"mysql","pid":0,"marker":"x"},{"name":"redis","pid":0,"marker":"y"}]}`)
		}, "leftovers", doctor.OK, "up starts all", ""},
		{"one dead process", native, func(m *machine) {
			m.state(`{"components":[{"name":"mysql","pid":` + self() + `,"marker":""},{"name":"order-srv","pid":0,"marker":"y"}]}`)
		}, "leftovers", doctor.Warning, "order-srv ended", "bin/holdfast up"},
		{"an orphan", native, func(m *machine) {
			m.proc("4711/comm", "mariadbd\n")
			m.proc("4711/cmdline", "/usr/sbin/mariadbd\x00--datadir="+m.options.Dir+"/mysql/data\x00")
		}, "leftovers", doctor.Problem, "mariadbd (process 4711) of an earlier run", "kill 4711"},
		{"a server of this shop", native, func(m *machine) {
			m.state(`{"components":[{"name":"mysql","pid":` + self() + `,"marker":""}]}`)
			m.proc(self()+"/comm", "mariadbd\n")
			m.proc(self()+"/cmdline", "/usr/sbin/mariadbd\x00--datadir="+m.options.Dir+"/mysql/data\x00")
		}, "leftovers", doctor.OK, "a shop of 1 part runs", ""},
		{"a server of somebody else", native, func(m *machine) {
			m.proc("4711/comm", "mariadbd\n")
			m.proc("4711/cmdline", "/usr/sbin/mariadbd\x00--datadir=/var/lib/mysql\x00")
		}, "leftovers", doctor.OK, "none", ""},
		{"containers", native, func(m *machine) { m.outputs[dockerPS] = "holdfast-redis-1\tholdfast\tredis\tUp 3 minutes\t" }, "leftovers", doctor.Warning, "1 container ", "docker compose"},
		{"a container without memory", inDocker, func(m *machine) {
			m.outputs[dockerPS] = "holdfast-broker-1\tholdfast\tbroker\tExited (137) 2 minutes ago\t\nholdfast-seed-1\tholdfast\tseed\tExited (0) 2 minutes ago\t"
		}, "leftovers", doctor.Warning, "holdfast-broker-1: Exited (137)", "docker compose logs broker"},
		{"containers of another project", native, func(m *machine) { m.outputs[dockerPS] = "blog-1\tblog\tweb\tUp 3 minutes\t" }, "leftovers", doctor.OK, "none", ""},
		{"a project of another name", native, func(m *machine) {
			m.outputs[dockerPS], m.env["COMPOSE_PROJECT_NAME"] = "mine-1\tmine\tredis\tUp 3 minutes\t", "mine"
		}, "leftovers", doctor.Warning, "project mine", "docker compose"},
		{"an interrupted download", native, func(m *machine) { m.oldFolder(filepath.Join(m.Cache, "holdfast", "fetching-1")) }, "leftovers", doctor.Warning, "fetching-1", "rm -r"},
		{"a download that runs", native, func(m *machine) { m.file(filepath.Join(m.Cache, "holdfast", "fetching-1", "x"), "") }, "leftovers", doctor.OK, "none", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.options.Way = tt.way
			tt.breaks(m)
			r := m.examine()
			for _, f := range find(r, tt.check) {
				if tt.level == doctor.OK && f.Level == doctor.Problem {
					t.Errorf("a problem: %+v", f)
				}
			}
			for _, f := range find(r, tt.check) {
				if f.Level == tt.level && strings.Contains(f.Found, tt.says) && strings.Contains(f.Advice, tt.advice) {
					return
				}
			}
			t.Errorf("no finding %q of level %s with the advice %q in %+v", tt.says, tt.level, tt.advice, find(r, tt.check))
		})
	}
}

func noJava() error { return errors.New("no Java program found") }

func (m *machine) missing(program string) {
	look := m.Look
	m.Look = func(name string) (string, error) {
		if name == program {
			return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
		}
		return look(name)
	}
}

func (m *machine) lacks(i int, install string, automatic bool) {
	m.programs[i].Path, m.programs[i].Install, m.programs[i].Automatic = "", install, automatic
}

func (m *machine) space(free, total uint64) {
	m.Space = func(string) (disk.Usage, error) { return disk.Usage{Free: free, Used: total - free}, nil }
}

func (m *machine) state(text string) { m.file(filepath.Join(m.options.Dir, "state.json"), text) }

func (m *machine) oldFolder(path string) {
	m.t.Helper()
	old := time.Now().Add(-time.Hour)
	if err := errors.Join(os.MkdirAll(path, 0o755), os.Chtimes(path, old, old)); err != nil {
		m.t.Fatal(err)
	}
}
