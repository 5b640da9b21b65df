// Package explore runs a learner's code under one interleaving after another, against real servers, until one of them
// breaks what a judge checks.
//
// The learner's statements are the steps. An [Actor] gets a [Handle], and whatever goes through it waits until the
// schedule lets the actor act. A [Scenario] opens the actors and judges what came of them. [Explore] begins with the
// schedules that switch between the actors least often, so that the first finding is the simplest interleaving that
// breaks (iterative context bounding: Musuvathi and Qadeer, PLDI 2007).
//
// What the text of a step looks like: a statement of the database is the SQL in one line, with its arguments filled in
// and without backquotes, or BEGIN, COMMIT, ROLLBACK. A command of Redis is the command with its arguments; a script is
// named by the first comment of its text. Steps are numbered from 1: step n is Finding.Steps[n-1].
package explore
