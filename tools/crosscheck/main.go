// Command crosscheck type-checks modules, their tests included, for another system. It reads the sources of all
// packages and compiles nothing, which takes a fraction of go vet's time.
//
//	crosscheck windows/amd64 . exercises
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: crosscheck GOOS/GOARCH FOLDER...")
		os.Exit(2)
	}
	for _, dir := range os.Args[2:] {
		if err := check(os.Args[1], dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// check type-checks all packages of the module in dir.
func check(target, dir string) error {
	system, arch, _ := strings.Cut(target, "/")
	found, err := packages.Load(&packages.Config{
		Mode:  packages.LoadAllSyntax | packages.NeedModule,
		Dir:   dir,
		Env:   append(os.Environ(), "GOOS="+system, "GOARCH="+arch, "CGO_ENABLED=0"),
		Tests: true,
	}, "./...")
	if err != nil {
		return fmt.Errorf("load the packages in %s for %s: %w", dir, target, err)
	}
	if len(found) == 0 {
		return fmt.Errorf("no package in %s for %s", dir, target)
	}
	var failures []error
	packages.Visit(found, nil, func(p *packages.Package) {
		for _, e := range p.Errors {
			failures = append(failures, fmt.Errorf("%s: %s: %w", target, p.ID, e))
		}
	})
	fmt.Printf("%s: %d packages and tests in %s\n", target, len(found), dir)
	return errors.Join(failures...)
}
