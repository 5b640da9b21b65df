// Package lesson has what goes wrong with locks and stock, done for real: each lesson makes the mistake on real servers,
// counts the damage, does it right, and checks that both came out as its page (docs/lessons) says.
//
// A lesson is a file with a constructor and a line in [All]. It prints what it does step by step with [Env.Step] and
// [Env.Show], and claims with [Env.Check], which is what makes it a test. What it stops, flushes or kills is a server or
// a process of its own: [Env.OwnRedis], [Env.Start].
package lesson
