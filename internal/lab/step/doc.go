// Package step plays scenes: actors execute their steps in a given order, against real servers.
//
// An [Actor] is a name and a list of steps. A [Step] is a statement or a call with the key of its label in a
// [Catalogue]. A [Scene] opens a [Stage]: its actors and the order in which they act. The [Player] executes the steps
// and emits each thing that happens as an [Event], which is data: a terminal renders it ([Terminal]), and so can a
// page in a browser.
//
// A step that waits for another actor does not stop the others. The player asks the actor whether it is blocked, as
// the server says, reports that it waits, and reports its result after the step that let it continue.
//
// With a [Pacer] the player pauses before each step, and shows what is stored after it. The pacer may have the scene
// replayed from its start to any step.
package step
