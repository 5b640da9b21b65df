package stack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"holdfast/deploy/rocketmq"
)

// fetchTimeout bounds the fetching of the jars. It applies even if the caller's deadline is shorter: the next start
// uses the jars.
const fetchTimeout = 10 * time.Minute

// RocketMQAvailable returns nil if [StartRocketMQ] has what it needs: Java 17, and either the jars of an earlier start
// or Maven and a Java compiler. Otherwise the error says what is missing. It fetches nothing.
func RocketMQAvailable() error {
	if r := javaProgram(); find(r.programs...) == "" {
		return r.missing()
	}
	dir, err := jarsDir()
	if err != nil {
		return err
	}
	if fetched(dir) {
		return nil
	}
	for _, r := range []requirement{mavenProgram(), javaCompiler()} {
		if find(r.programs...) == "" {
			return fmt.Errorf("RocketMQ's jars are not in %s, and %w", dir, r.missing())
		}
	}
	return nil
}

// jarsDir returns the folder of the jars and the compiled launcher. Its name contains a checksum of their sources.
func jarsDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache folder for RocketMQ's jars: %w", err)
	}
	sum := sha256.Sum256([]byte(rocketmq.POM + rocketmq.Launcher))
	return filepath.Join(cache, "holdfast", fmt.Sprintf("rocketmq-%s-%x", rocketmq.Version, sum[:4])), nil
}

// fetched checks a single file: the folder gets its final name only when it is complete.
func fetched(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "Launcher.class"))
	return err == nil
}

// rocketmqJars returns the Java program and the folder of the jars, and fetches the jars if they are missing.
// Concurrent processes may fetch at the same time: the first one to finish renames its folder.
func rocketmqJars(ctx context.Context, o Options) (java, dir string, err error) {
	if err := RocketMQAvailable(); err != nil {
		return "", "", err
	}
	java = find("java")
	if dir, err = jarsDir(); err != nil || fetched(dir) {
		return java, dir, err
	}
	o.progress("fetching RocketMQ %s with Maven (first start only)", rocketmq.Version)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", "", err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "fetching-")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(temp) //nolint:errcheck // a remaining folder in the cache does no harm
	if err := fetchJars(ctx, temp); err != nil {
		return "", "", err
	}
	if err := os.Rename(temp, dir); err != nil && !fetched(dir) { // fetched: another process finished first
		return "", "", err
	}
	return java, dir, nil
}

func fetchJars(ctx context.Context, dir string) error {
	pom, launcher := filepath.Join(dir, "pom.xml"), filepath.Join(dir, "Launcher.java")
	if err := errors.Join(
		os.WriteFile(pom, []byte(rocketmq.POM), 0o600),
		os.WriteFile(launcher, []byte(rocketmq.Launcher), 0o600),
	); err != nil {
		return err
	}
	if err := tool(ctx, dir, find("mvn"), "-q", "-B", "-f", pom, "dependency:copy-dependencies",
		"-DincludeScope=runtime", "-DoutputDirectory="+dir); err != nil {
		return fmt.Errorf("fetch RocketMQ's jars: %w", err)
	}
	if err := tool(ctx, dir, find("javac"), "-cp", filepath.Join(dir, "*"), "-d", dir, launcher); err != nil {
		return fmt.Errorf("compile RocketMQ's launcher: %w", err)
	}
	return nil
}

// tool runs a program and waits for it. The error contains its output.
func tool(ctx context.Context, dir, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(program), err, bytes.TrimSpace(out))
	}
	return nil
}
