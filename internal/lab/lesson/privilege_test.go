package lesson_test

import (
	"crypto/rand"
	"database/sql"
	"os"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/lab/lesson"
	"holdfast/internal/lab/step"
)

// TestRun_withoutPrivilege steps through a blocked read as a user who may not see lock waits: the step is still seen to
// wait, and the output says what is missing.
func TestRun_withoutPrivilege(t *testing.T) {
	t.Parallel()
	l, _ := lesson.Find("for-update")
	var out strings.Builder
	got, err := lesson.Run(t.Context(), l, lesson.Config{
		Servers: stack.NewOnDemand(stack.Vars{Redis: stacktest.Redis(t), MySQL: unprivileged(t)}, nil),
		Self:    []string{os.Args[0], lesson.RoleArg}, Out: &out, Pace: step.NewKeyboard(strings.NewReader(strings.Repeat("\n", 100))),
	})
	if err != nil || !got.Holds {
		t.Errorf("%+v, error %v", got, err)
	}
	for _, want := range []string{"B: BEGIN, SELECT … FOR UPDATE ... waits", "lock waits: this user may not see them (PROCESS): -"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out.String())
		}
	}
}

// unprivileged returns the DSN of a user with the databases of lessons and no other privilege.
func unprivileged(t *testing.T) string {
	t.Helper()
	cfg, err := mysql.ParseDSN(stacktest.MySQL(t))
	if err != nil {
		t.Fatal(err)
	}
	admin, err := sql.Open("mysql", cfg.FormatDSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close() })
	cfg.User, cfg.Passwd = "u"+strings.ToLower(rand.Text()[:10]), "secret"
	for _, statement := range []string{
		"CREATE USER " + cfg.User + "@'%' IDENTIFIED BY 'secret'", "GRANT ALL ON `lesson\\_%`.* TO " + cfg.User + "@'%'",
	} {
		if _, err := admin.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _, _ = admin.Exec("DROP USER " + cfg.User + "@'%'") })
	return cfg.FormatDSN()
}
