package lesson_test

import (
	"os"
	"strings"
	"testing"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/lab/lesson"
	"holdfast/internal/lab/step"
)

// TestChoosingMQ_answers: a reader's answers are checked, one by one, and counted.
func TestChoosingMQ_answers(t *testing.T) {
	t.Parallel()
	l, _ := lesson.Find("choosing-an-mq")
	var out strings.Builder
	// The steps on Redis; then a right answer, a wrong one, none, no letter and a right one, and a right one.
	input := strings.Repeat("\n", 8) + "a\na\n\nx\nd\ne\n"
	got, err := lesson.Run(t.Context(), l, lesson.Config{
		Servers: stack.NewOnDemand(stack.Vars{Redis: stacktest.Redis(t)}, nil), Self: []string{os.Args[0], lesson.RoleArg}, Out: &out,
		Lang: "en", Pace: step.NewKeyboard(strings.NewReader(input)),
	})
	if err != nil || !got.Holds {
		t.Fatalf("%+v, error %v", got, err)
	}
	for _, want := range []string{
		"a) RocketMQ", "e) NATS JetStream", "right: RocketMQ: ", "RocketMQ lacks: stream processing, connectors\n      -> Kafka: ",
		"   -> RabbitMQ: ", "right: Redis Streams: ", "your answers: 3 of 4 right",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}
