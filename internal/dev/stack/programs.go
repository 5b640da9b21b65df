package stack

import (
	"os"
	"runtime"
	"strings"
)

// Program is a program that the native way starts or calls.
type Program struct {
	Name      string   // "MySQL or MariaDB"
	For       string   // what needs it: "the shop", "RocketMQ"
	Looked    []string // the names that are looked for; the first that exists is used
	Path      string   // where it was found; empty: nowhere
	Install   string   // if it was not found: the command that installs it on this system, or another instruction
	Automatic bool     // if it was not found: `holdfast up` gets it without a further command
}

// Programs looks for the programs of the native way and says how each missing one is installed on this system. It
// installs nothing.
func Programs() []Program {
	var list []Program
	for _, r := range []requirement{mysqlServer(), redisServer(), javaProgram(), javaCompiler(), mavenProgram(), cCompiler()} {
		p := Program{Name: r.name, For: r.use, Looked: r.programs, Path: find(r.programs...)}
		if p.Path == "" {
			p.Install, p.Automatic = r.install(thisSystem()), r.automatic()
		}
		list = append(list, p)
	}
	return list
}

func mysqlServer() requirement {
	return requirement{
		name: "MySQL or MariaDB", use: "the shop",
		programs: []string{"mariadbd", "mysqld"},
		packages: []string{"mariadb-server-core", "mariadb-server-core-10.6"},
		others:   map[string]string{"brew": "mariadb", "dnf": "mariadb-server", "pacman": "mariadb", "zypper": "mariadb"},
		getting:  fetchForShop,
	}
}

func redisServer() requirement {
	return requirement{
		name: "Redis", use: "the shop",
		programs: []string{"redis-server", "redis-check-rdb", "valkey-server"},
		packages: []string{"redis-tools"},
		others:   map[string]string{"brew": "redis", "dnf": "redis", "pacman": "valkey", "zypper": "redis"},
		getting:  fetchForShop,
	}
}

func javaProgram() requirement {
	return requirement{
		name: "Java 17 or newer", use: "RocketMQ",
		programs: []string{"java"},
		packages: []string{"openjdk-17-jdk-headless", "openjdk-21-jdk-headless"},
		others: map[string]string{
			"brew": "openjdk@17", "dnf": "java-21-openjdk-devel", "pacman": "jdk17-openjdk", "zypper": "java-17-openjdk-devel",
		},
	}
}

func javaCompiler() requirement {
	r := javaProgram()
	r.name, r.use, r.programs = "the Java compiler", "the first start of RocketMQ", []string{"javac"}
	return r
}

func mavenProgram() requirement {
	return requirement{
		name: "Maven", use: "the first start of RocketMQ",
		programs: []string{"mvn"},
		packages: []string{"maven"},
		others:   map[string]string{"brew": "maven", "dnf": "maven", "pacman": "maven", "zypper": "maven"},
	}
}

func cCompiler() requirement {
	return requirement{
		name: "a C compiler", use: "the race detector of make test",
		programs: []string{"gcc", "clang", "cc"},
		packages: []string{"gcc libc6-dev"},
		others:   map[string]string{"brew": "llvm", "dnf": "gcc", "pacman": "gcc", "zypper": "gcc"},
		getting:  fetchAsRoot,
	}
}

// system is what decides how a program is installed.
type system struct {
	goos string
	root bool
	has  func(program string) bool // whether a package manager is here
}

func thisSystem() system {
	return system{goos: runtime.GOOS, root: os.Geteuid() == 0, has: func(program string) bool { return find(program) != "" }}
}

// install returns the command of the system's package manager that installs the program.
func (r requirement) install(s system) string {
	switch s.goos {
	case "windows":
		return "use WSL 2 or Docker Desktop: docs/running.md#windows"
	case "darwin":
		command := "brew install " + r.others["brew"]
		if !s.has("brew") {
			return "install Homebrew (https://brew.sh), then " + command
		}
		return command
	}
	sudo := "sudo "
	if s.root {
		sudo = ""
	}
	if s.has("apt-get") {
		return sudo + "apt-get install " + strings.Join(r.packages, ", or ")
	}
	for _, manager := range []struct{ program, command string }{
		{"dnf", "dnf install "}, {"pacman", "pacman -S "}, {"zypper", "zypper install "},
	} {
		if s.has(manager.program) {
			return sudo + manager.command + r.others[manager.program]
		}
	}
	return "install " + r.name + " with this system's package manager"
}
