package lesson

import (
	"context"
	"slices"

	"holdfast/internal/lab/step"
)

func choosingMQ() Lesson {
	return Lesson{Name: "choosing-an-mq", Scenes: choosingScenes}
}

// grade is how well a broker has a property. docs/lessons/choosing-an-mq.md has the versions and the sources.
type grade string

const (
	gradeYes  grade = "yes"
	gradePart grade = "part" // with limits that the page explains
	gradeNo   grade = "no"
)

// properties returns the properties of the table, in the order of the grades of [brokerFacts].
func properties() []string {
	return []string{"order", "delay", "transactions", "replay", "work", "streams", "safe", "light", "there"}
}

// brokerFacts is a row of the table.
type brokerFacts struct {
	name   string
	grades []grade // of properties
}

func mqBrokers() []brokerFacts {
	const y, p, n = gradeYes, gradePart, gradeNo
	return []brokerFacts{
		{"RocketMQ", []grade{y, y, y, y, p, p, y, n, n}},
		{"Kafka", []grade{y, n, n, y, p, y, y, n, n}},
		{"RabbitMQ", []grade{p, p, n, p, y, n, y, p, n}},
		{"Redis Streams", []grade{p, n, n, p, n, n, n, y, y}},
		{"NATS JetStream", []grade{p, y, n, y, p, n, y, y, n}},
	}
}

// grade returns how well the broker has a property.
func (b brokerFacts) grade(property string) grade {
	return b.grades[slices.Index(properties(), property)]
}

// lacks returns those of the properties that the broker does not have, or only in part.
func (b brokerFacts) lacks(needs []string) []string {
	return slices.DeleteFunc(slices.Clone(needs), func(p string) bool { return b.grade(p) == gradeYes })
}

// mqCase is a case to decide: what it needs, and the answer.
type mqCase struct {
	name, answer string
	needs        []string
}

func mqCases() []mqCase {
	return []mqCase{
		{"shop", "RocketMQ", []string{"order", "delay", "transactions"}},
		{"clicks", "Kafka", []string{"order", "replay", "streams"}},
		{"jobs", "RabbitMQ", []string{"work", "safe"}},
		{"small", "Redis Streams", []string{"there"}},
		{"devices", "NATS JetStream", []string{"light", "replay", "safe"}},
	}
}

// fitting returns the brokers that have all that a case needs.
func (c mqCase) fitting() (names []string) {
	for _, b := range mqBrokers() {
		if len(b.lacks(c.needs)) == 0 {
			names = append(names, b.name)
		}
	}
	return names
}

func choosingScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	client, err := e.Redis(ctx)
	if err != nil {
		return nil, err
	}
	return []step.Scene{
		e.scene(step.T("choosing-an-mq.table"), mqTable),
		e.scene(step.T("choosing-an-mq.streams"), func(context.Context) (*step.Stage, error) {
			return newStreamCheck(e, client).stage(), nil
		}),
		e.scene(step.T("choosing-an-mq.cases", len(mqCases())), e.decide),
	}, nil
}

// mqTable shows the table and checks that it decides each case.
func mqTable(context.Context) (*step.Stage, error) {
	return &step.Stage{End: func(_ context.Context, end *step.Ending) error {
		head := []any{""}
		for _, b := range mqBrokers() {
			head = append(head, b.name)
		}
		rows := [][]any{head}
		for _, p := range properties() {
			row := []any{step.T("choosing-an-mq.has." + p)}
			for _, b := range mqBrokers() {
				row = append(row, step.T("choosing-an-mq."+string(b.grade(p))))
			}
			rows = append(rows, row)
		}
		end.Table(rows...)
		decided := 0
		for _, c := range mqCases() {
			if slices.Equal(c.fitting(), []string{c.answer}) {
				decided++
			}
		}
		end.Check(decided == len(mqCases()), "choosing-an-mq.table.claim", decided)
		return nil
	}}, nil
}

// decide asks the reader for an answer to each case.
func (e *Env) decide(context.Context) (*step.Stage, error) {
	var choices []step.Text
	for _, b := range mqBrokers() {
		choices = append(choices, step.T("choosing-an-mq.broker", b.name))
	}
	one := &step.Actor{}
	stage := &step.Stage{Actors: []*step.Actor{one}}
	right, given := 0, 0
	for _, c := range mqCases() {
		chosen := -1
		one.Steps = append(one.Steps, step.Step{
			Label: step.T("choosing-an-mq.case." + c.name), Ask: "choosing-an-mq.ask",
			Choices: choices, Chosen: func(i int) { chosen = i },
			Do: func(context.Context) (step.Result, error) {
				if chosen >= 0 {
					given++
				}
				if chosen >= 0 && mqBrokers()[chosen].name == c.answer {
					right++
				}
				return step.Result{Text: c.result(chosen, e.stepping())}, nil
			},
		})
		stage.Order = append(stage.Order, "")
	}
	stage.End = func(_ context.Context, end *step.Ending) error {
		if given > 0 {
			end.Note("choosing-an-mq.score", right, given)
		}
		for _, c := range mqCases() {
			end.Check(slices.Equal(c.fitting(), []string{c.answer}), "choosing-an-mq.case.claim", step.T("choosing-an-mq.short."+c.name), c.answer)
		}
		return nil
	}
	return stage, nil
}

// result returns the text of a case's answer. chosen is the reader's, or -1.
func (c mqCase) result(chosen int, asked bool) step.Text {
	why := step.T("choosing-an-mq.why." + c.name)
	switch {
	case !asked:
		return step.T("choosing-an-mq.shown", step.T("choosing-an-mq.case."+c.name), c.answer, why)
	case chosen < 0:
		return step.T("choosing-an-mq.answer", c.answer, why)
	case mqBrokers()[chosen].name == c.answer:
		return step.T("choosing-an-mq.right", c.answer, why)
	}
	missing := step.T("choosing-an-mq.has." + mqBrokers()[chosen].lacks(c.needs)[0])
	return step.T("choosing-an-mq.wrong", mqBrokers()[chosen].name, missing, c.answer, why)
}
