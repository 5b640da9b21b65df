package main

import (
	"os"
	"testing"
)

// asMain is the variable that turns the test binary into holdfast, also in the processes of lessons.
const asMain = "HOLDFAST_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}
