package doctor_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"holdfast/internal/dev/doctor"
)

func self() string { return strconv.Itoa(os.Getpid()) }

// listens lets a process listen on a port. Its descriptors can be read if visible is set.
func (m *machine) listens(port, pid int, uid, name string, visible bool) {
	m.t.Helper()
	m.taken[port] = true
	inode := strconv.Itoa(900000 + port)
	m.proc("net/tcp", "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"+
		"   0: 0100007F:"+strings.ToUpper(strconv.FormatInt(int64(port), 16))+" 00000000:0000 0A 00000000:00000000 00:00000000 00000000  "+uid+"        0 "+inode+" 1\n")
	if !visible {
		return
	}
	m.proc(strconv.Itoa(pid)+"/comm", name+"\n")
	fds := filepath.Join(m.Proc, strconv.Itoa(pid), "fd")
	if err := errors.Join(os.MkdirAll(fds, 0o755), os.Symlink("socket:["+inode+"]", filepath.Join(fds, "7"))); err != nil {
		m.t.Fatal(err)
	}
}

// TestExamine_ports: a port that something else holds is a problem, and the finding names the holder where it can.
func TestExamine_ports(t *testing.T) {
	t.Parallel()
	const native, inDocker = doctor.Native, doctor.Docker
	for _, tt := range []struct {
		name   string
		way    doctor.Way
		breaks func(m *machine)
		level  doctor.Level
		says   string
		advice string
	}{
		{"all free", native, func(*machine) {}, doctor.OK, "all 17 ports are free", ""},
		{
			"a process", native, func(m *machine) { m.listens(8080, 4711, "1000", "python3", true) }, doctor.Problem,
			"8080, which api-gateway needs, is in use by python3 (process 4711)", "stop it: kill 4711",
		},
		{
			"another shop", native, func(m *machine) { m.listens(16379, 4711, "1000", "redis-server", true) }, doctor.Problem,
			"16379, which redis needs, is in use by redis-server (process 4711)", "make down there; else kill 4711",
		},
		{
			"a process of another user", native, func(m *machine) { m.listens(13306, 4711, "27", "mysqld", false) }, doctor.Problem,
			"13306, which mysql needs, is in use by a process of user 27", "sudo ss -ltnp",
		},
		{"no /proc", native, func(m *machine) { m.taken[8080], m.Proc = true, "/nowhere" }, doctor.Problem, "8080, which api-gateway needs, is in use", "lsof"},
		{"a program of Windows", native, func(m *machine) {
			m.proc("sys/kernel/osrelease", "5.15.153.1-microsoft-standard-WSL2")
			m.taken[8080] = true
		}, doctor.Problem, "8080, which api-gateway needs, is in use", "netstat -ano | findstr :8080"},
		{"this shop", native, func(m *machine) {
			m.listens(8080, 4711, "1000", "api-gateway", true)
			m.state(`{"components":[{"name":"api-gateway","pid":4711,"marker":"x"}]}`)
		}, doctor.OK, "this shop holds 8080", ""},
		{"a container of Holdfast", native, func(m *machine) {
			m.listens(8080, 4711, "0", "docker-proxy", false)
			m.outputs[dockerPS] = "holdfast-api-gateway-1\tholdfast\tapi-gateway\tUp\t127.0.0.1:8080->8080/tcp"
		}, doctor.Problem, "by the container holdfast-api-gateway-1", "make down"},
		{"this shop in containers", inDocker, func(m *machine) {
			m.listens(8080, 4711, "0", "docker-proxy", false)
			m.outputs[dockerPS] = "holdfast-api-gateway-1\tholdfast\tapi-gateway\tUp\t127.0.0.1:8080->8080/tcp"
		}, doctor.OK, "this shop holds 8080", ""},
		{"another container", inDocker, func(m *machine) {
			m.listens(8080, 4711, "0", "docker-proxy", false)
			m.outputs[dockerPS] = "blog\t\t\tUp\t0.0.0.0:8079-8081->79-81/tcp, [::]:8079-8081->79-81/tcp"
		}, doctor.Problem, "by the container blog", "docker stop blog; or publish another one: GATEWAY_PORT=8081"},
		{"another published port in .env", inDocker, func(m *machine) {
			m.listens(8080, 4711, "1000", "python3", true)
			m.file(m.DotEnv, "# comment\nGATEWAY_PORT=9001\n")
		}, doctor.OK, "9001, 13306, 16379", ""},
		{"another published port", inDocker, func(m *machine) {
			m.listens(8080, 4711, "1000", "python3", true)
			m.env["GATEWAY_PORT"] = "9000"
		}, doctor.OK, "9000, 13306, 16379", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.options.Way = tt.way
			tt.breaks(m)
			found := find(m.examine(), "ports")
			if len(found) != 1 {
				t.Fatalf("%d findings: %+v", len(found), found)
			}
			if f := found[0]; f.Level != tt.level || !strings.Contains(f.Found, tt.says) || !strings.Contains(f.Advice, tt.advice) {
				t.Errorf("%+v, want level %s, %q and %q", f, tt.level, tt.says, tt.advice)
			}
		})
	}
}
