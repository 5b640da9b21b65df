package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"holdfast/internal/dev/dbtest"
	"holdfast/pkg/crash"
	schema "holdfast/sql"
)

// programs builds the services and the command line once for the test process, at first use.
type programs struct {
	tags string
	once sync.Once
	dir  string
	err  error
}

var ordinary, withCrashPoints = &programs{}, &programs{tags: crash.Tag}

func (p *programs) build() (string, error) {
	p.once.Do(func() {
		if p.dir, p.err = os.MkdirTemp("", "holdfast-e2e-"); p.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-tags", p.tags, "-o", p.dir+"/", "../api-gateway", "../order-srv", "../inventory-srv", "../cmd/holdfast")
		if out, err := cmd.CombinedOutput(); err != nil {
			p.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	return p.dir, p.err
}

// walletDatabase returns a fresh database of the wallet, which creates its schema.
func (s setup) walletDatabase(tb testing.TB) string {
	tb.Helper()
	if s.server == "" {
		return dbtest.NewDSN(tb, nil)
	}
	if _, err := openDB(tb, s.server).Exec("CREATE DATABASE wallet"); err != nil {
		tb.Fatal(err)
	}
	return s.server + "wallet"
}

// databases returns fresh databases, on the shared server or on the test's own.
func (s setup) databases(tb testing.TB) (orders, stock string) {
	tb.Helper()
	if s.server == "" && s.empty {
		return dbtest.NewDSN(tb, nil), dbtest.NewDSN(tb, nil)
	}
	if s.server == "" {
		return dbtest.NewDSN(tb, schema.Orders()), dbtest.NewDSN(tb, schema.Inventory())
	}
	admin := openDB(tb, s.server)
	for _, name := range []string{"orders", "inventory"} {
		if _, err := admin.Exec("CREATE DATABASE " + name); err != nil {
			tb.Fatal(err)
		}
	}
	return s.server + "orders", s.server + "inventory" // the services create the schema
}
