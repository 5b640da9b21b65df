package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"holdfast/internal/dev/stack"
	"holdfast/internal/lab/lesson"
	"holdfast/internal/lab/step"
	"holdfast/pkg/telemetry"
)

type lessonCmd struct {
	Name string `arg:"" optional:"" help:"Name of the lesson."`
	List bool   `help:"List the lessons."`
	All  bool   `help:"Run all lessons; exit with status 1 if a check of one fails."`
	JSON bool   `help:"Print the results as one JSON document, with --all an array; the text goes to standard error." name:"json"`
	Step bool   `help:"Wait for Enter before each step, and show rows, keys and lock waits after it."`
	Lang string `help:"Language of the texts: en or zh. Default: that of HOLDFAST_LANG, else of LANG." enum:",en,zh" default:""`

	TTL    time.Duration `help:"Time to live of the lesson's lock." name:"ttl"`
	Buyers int           `help:"Number of buyers of the lesson's rush."`
	Pause  time.Duration `help:"How long the lesson's holder works or hangs."`
}

// Run runs lessons on the stack that is up, or on private servers that end with the command. A lesson stops, flushes
// and kills only servers of its own.
func (l *lessonCmd) Run(ctx context.Context, c *cli, stdout io.Writer) (err error) {
	lessons, err := l.choose()
	if err != nil {
		return exit{2, err}
	}
	if lessons == nil {
		return l.list(stdout)
	}
	params := lesson.Params{TTL: l.TTL, Buyers: l.Buyers, Pause: l.Pause}
	for _, one := range lessons {
		if err := params.Check(one); err != nil {
			return exit{2, err}
		}
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
	cfg := lesson.Config{
		Servers: servers, Self: []string{self, lesson.RoleArg}, Out: stdout, Lang: language(l.Lang), Params: params,
	}
	if l.Step {
		cfg.Pace = step.NewKeyboard(os.Stdin)
	}
	if !l.JSON {
		_, err := l.run(ctx, lessons, cfg, c.held)
		return err
	}
	cfg.Out = os.Stderr
	results, failed := l.run(ctx, lessons, cfg, c.held)
	return errors.Join(failed, l.printResults(stdout, results))
}

// language returns the language of the texts.
func language(flag string) string { return step.Chosen(flag, os.Getenv) }

// sideBySide is how many lessons of --all run at once. They wait for leases and deliveries most of the time; the tests
// run four on the same servers.
const sideBySide = 3

// run runs the lessons, prints their texts in the order of the course, and calls held for each that holds. A single
// lesson then names the next one of the course. A reader who steps gets one lesson after the other. After an
// interruption run returns the results until then.
func (l *lessonCmd) run(ctx context.Context, lessons []lesson.Lesson, cfg lesson.Config, held func(name string)) ([]lesson.Result, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	runs := make([]lessonRun, len(lessons))
	texts := newTurns(cfg.Out, len(lessons))
	var record sync.Mutex
	var running errgroup.Group
	running.SetLimit(sideBySide)
	if cfg.Pace != nil {
		running.SetLimit(1)
	}
	for i, one := range lessons {
		running.Go(func() error {
			mine := turn{texts, i}
			if i > 0 && ctx.Err() != nil { // the first one says what interrupted it
				return mine.end()
			}
			cfg := cfg
			cfg.Out = mine
			if i > 0 {
				fmt.Fprint(mine, "\n\n")
			}
			result, err := lesson.Run(ctx, one, cfg)
			if err == nil {
				record.Lock()
				held(one.Name)
				record.Unlock()
			}
			if err == nil && !l.All {
				err = follow(mine, cfg.Lang, one.Name)
			}
			if errors.Is(err, step.ErrStopped) {
				stop()
			}
			runs[i] = lessonRun{&result, err}
			return mine.end()
		})
	}
	failed := running.Wait()
	var results []lesson.Result
	for _, r := range runs {
		if r.result != nil {
			results = append(results, *r.result)
		}
		failed = errors.Join(failed, r.err)
	}
	return results, failed
}

// lessonRun is what became of a lesson; result is nil if it was not begun.
type lessonRun struct {
	result *lesson.Result
	err    error
}

// printResults prints an array for --all, else an object.
func (l *lessonCmd) printResults(stdout io.Writer, results []lesson.Result) error {
	if l.All {
		return printJSON(stdout, results)
	}
	return printJSON(stdout, results[0])
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

// listed is a lesson in the list.
type listed struct {
	Name  string `json:"name"`
	Title string `json:"title"`
}

func (l *lessonCmd) list(stdout io.Writer) error {
	texts, err := lesson.Texts(language(l.Lang))
	if err != nil {
		return err
	}
	var lessons []listed
	for _, one := range lesson.All() {
		lessons = append(lessons, listed{one.Name, one.Title(texts)})
	}
	if l.JSON {
		return printJSON(stdout, lessons)
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	for _, one := range lessons {
		fmt.Fprintf(w, "%s\t%s\n", one.Name, one.Title)
	}
	return w.Flush()
}

func lessonServers(ctx context.Context, dir string) (*stack.OnDemand, error) {
	state, err := stack.Load(dir)
	if err != nil {
		return nil, err
	}
	if state.Up(ctx) {
		vars := stack.UpVars(os.Getenv)
		vars.Broker = cmp.Or(vars.Broker, state.Broker())
		return stack.NewOnDemand(vars, os.Stderr), nil
	}
	return stack.NewOnDemand(stack.VarsFrom(os.Getenv), os.Stderr), nil
}

type lessonRoleCmd struct {
	Words []string `arg:"" passthrough:"" help:"LESSON ROLE ARGS..."`
}

// Run runs one of the processes of a lesson.
func (l *lessonRoleCmd) Run(ctx context.Context) error {
	return lesson.RunRole(ctx, l.Words, os.Stdin, os.Stdout)
}
