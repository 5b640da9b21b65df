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

// fetchTimeout bounds the fetching of the jars, also when the caller is in a hurry: the next start finds them.
const fetchTimeout = 10 * time.Minute

// RocketMQAvailable returns nil when [StartRocketMQ] has what it needs: Java 17, and either the jars of an earlier start
// or Maven and a Java compiler to make them. Otherwise the error says what is missing. It fetches nothing.
func RocketMQAvailable() error {
	if find("java") == "" {
		return errors.New("no Java here; install a JDK 17 or newer (apt-get install openjdk-17-jdk-headless maven)")
	}
	dir, err := jarsDir()
	if err != nil {
		return err
	}
	if fetched(dir) {
		return nil
	}
	for _, tool := range []struct{ program, what string }{{"mvn", "Maven"}, {"javac", "the Java compiler"}} {
		if find(tool.program) == "" {
			return fmt.Errorf("%s (%s) is not installed and RocketMQ's jars are not in %s; "+
				"install a JDK 17 or newer and Maven (apt-get install openjdk-17-jdk-headless maven)", tool.what, tool.program, dir)
		}
	}
	return nil
}

// jarsDir is the folder of the jars and the compiled launcher. Its name changes with what they are made from.
func jarsDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache folder for RocketMQ's jars: %w", err)
	}
	sum := sha256.Sum256([]byte(rocketmq.POM + rocketmq.Launcher))
	return filepath.Join(cache, "holdfast", fmt.Sprintf("rocketmq-%s-%x", rocketmq.Version, sum[:4])), nil
}

// fetched needs to look at one file only: the folder gets its name when it is complete.
func fetched(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "Launcher.class"))
	return err == nil
}

// rocketmqJars returns the Java program and the folder of the jars, which it fetches when they are not there. Processes
// that do so at the same time do not disturb each other: the first to finish wins.
func rocketmqJars(ctx context.Context, o Options) (java, dir string, err error) {
	if err := RocketMQAvailable(); err != nil {
		return "", "", err
	}
	java = find("java")
	if dir, err = jarsDir(); err != nil || fetched(dir) {
		return java, dir, err
	}
	o.progress("fetching RocketMQ %s with Maven, once", rocketmq.Version)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", "", err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "fetching-")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(temp) //nolint:errcheck // what is left of it is only a folder in a cache
	if err := fetchJars(ctx, temp); err != nil {
		return "", "", err
	}
	if err := os.Rename(temp, dir); err != nil && !fetched(dir) { // fetched: somebody else was quicker
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

// tool runs a program to its end. The error holds what it printed.
func tool(ctx context.Context, dir, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(program), err, bytes.TrimSpace(out))
	}
	return nil
}
