package runner

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"holdfast/exercises/internal/catalogue"
)

// keys returns for each exercise a key that changes with anything that its test binary consists of: the learner's file,
// the check, the engine, the libraries, the compiler. It compiles what has changed and links nothing. An exercise that
// does not compile has no key.
func (r *Runner) keys(ctx context.Context, exercises []catalogue.Exercise) (map[int]string, error) {
	if _, err := os.Stat(r.recordFile()); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(r.Notices, r.say("first"))
	}
	// The program that go test would link is the package main among the results; its Deps are all that it consists of.
	const format = "{{.ImportPath}}\t{{.BuildID}}\t{{if eq .Name \"main\"}}{{join .Deps \",\"}}{{end}}"
	args := []string{"list", "-e", "-deps", "-test", "-export", "-trimpath", "-f", format}
	for _, e := range exercises {
		args = append(args, e.Package())
	}
	cmd := r.goCommand(ctx, args...)
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, messages.String())
	}
	ids, deps := map[string]string{}, map[string][]string{}
	for line := range strings.Lines(out.String()) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 3 {
			continue
		}
		ids[fields[0]] = fields[1]
		if fields[2] != "" {
			deps[fields[0]] = append(strings.Split(fields[2], ","), fields[0])
		}
	}
	keys := map[int]string{}
	for _, e := range exercises {
		if key := keyOf(deps[e.Package()+".test"], ids); key != "" {
			keys[e.Number] = key
		}
	}
	return keys, nil
}

// keyOf hashes the build IDs of packages. It returns "" if one of them has none: it was not compiled.
func keyOf(packages []string, ids map[string]string) string {
	if len(packages) == 0 {
		return ""
	}
	hash := sha256.New()
	for _, name := range slices.Sorted(slices.Values(packages)) {
		if ids[name] == "" && name != "unsafe" { // unsafe is part of the compiler
			return ""
		}
		fmt.Fprintf(hash, "%s %s\n", name, ids[name])
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// build links the exercise's test binary. messages are the compiler's, as it printed them, if the code does not
// compile.
func (r *Runner) build(ctx context.Context, e catalogue.Exercise) (binary, messages string, err error) {
	dir := filepath.Join(r.State, "bin")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", err
	}
	binary = filepath.Join(dir, e.Dir+".test")
	// Without debug information the linker has half the work; a panic still names file and line.
	cmd := r.goCommand(ctx, "test", "-c", "-trimpath", "-ldflags=-s -w", "-o", binary, e.Package())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if _, failed := errors.AsType[*exec.ExitError](err); failed && ctx.Err() == nil {
		return "", out.String(), nil
	}
	if err != nil {
		return "", "", fmt.Errorf("go test -c: %w", err)
	}
	return binary, "", nil
}

// goCommand prepares a command of the Go toolchain in the module's folder.
func (r *Runner) goCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = r.Root
	return cmd
}
