package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack"
	"holdfast/internal/lab/lesson"
	"holdfast/pkg/telemetry"
)

type lessonCmd struct {
	Name string `arg:"" optional:"" help:"Name of the lesson."`
	List bool   `help:"List the lessons."`
	All  bool   `help:"Run all lessons; exit with status 1 if a check of one fails."`
}

// Run runs lessons on the stack that is up, or on private servers that end with the command. A lesson stops, flushes
// and kills only servers of its own.
func (l *lessonCmd) Run(ctx context.Context, c *cli, stdout io.Writer) (err error) {
	lessons, err := l.choose()
	if err != nil {
		return exit{2, err}
	}
	if lessons == nil {
		return listLessons(stdout)
	}
	// Some lessons kill a Redis. The client library's messages about that would hide the lesson's own output.
	redis.SetLogger(telemetry.RedisLogger(slog.New(slog.DiscardHandler)))
	self, err := os.Executable()
	if err != nil {
		return err
	}
	servers, err := lessonServers(ctx, c.Dir)
	if err != nil {
		return err
	}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, servers.Stop(clean))
	}()
	var failed []error
	for i, one := range lessons {
		if i > 0 {
			fmt.Fprint(stdout, "\n\n")
		}
		failed = append(failed, lesson.Run(ctx, one, lesson.Config{Servers: servers, Self: []string{self, lesson.RoleArg}, Out: stdout}))
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failed...)
}

// choose returns the lessons to run, nil for the list.
func (l *lessonCmd) choose() ([]lesson.Lesson, error) {
	switch {
	case l.All && l.Name != "":
		return nil, errors.New("give a lesson's name or --all, not both")
	case l.All:
		return lesson.All(), nil
	case l.List || l.Name == "":
		return nil, nil
	}
	one, ok := lesson.Find(l.Name)
	if !ok {
		return nil, fmt.Errorf("lesson %q is unknown; holdfast lesson --list shows all", l.Name)
	}
	return []lesson.Lesson{one}, nil
}

func listLessons(stdout io.Writer) error {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	for _, one := range lesson.All() {
		fmt.Fprintf(w, "%s\t%s\n", one.Name, one.Title)
	}
	return w.Flush()
}

func lessonServers(ctx context.Context, dir string) (*lesson.Servers, error) {
	state, err := stack.Load(dir)
	if err != nil {
		return nil, err
	}
	if state.Up(ctx) {
		return lesson.NewServers(stack.UpVars(os.Getenv), os.Stderr), nil
	}
	return lesson.NewServers(stack.VarsFrom(os.Getenv), os.Stderr), nil
}

type lessonRoleCmd struct {
	Words []string `arg:"" passthrough:"" help:"LESSON ROLE ARGS..."`
}

// Run runs one of the processes of a lesson.
func (l *lessonRoleCmd) Run(ctx context.Context) error {
	return lesson.RunRole(ctx, l.Words, os.Stdin, os.Stdout)
}
