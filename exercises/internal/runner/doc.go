// Package runner is the learner's side of the exercises: it compiles the learner's files, runs their checks, remembers
// what came of them, gives hints, and runs a check again when a file is saved.
//
// Each exercise is a test binary of its own, so a file that does not compile breaks only its own exercise. Linking ten
// binaries costs most of the time of a list. Therefore a list links and runs only what may have changed: the verdict of
// a check is recorded under the build IDs of all packages that the binary consists of, which `go list -export` gives
// without linking. A verdict may be reused because the checks explore interleavings in a fixed order, and nothing in
// them depends on the machine's pace. [Runner.Try] always runs the check.
package runner
