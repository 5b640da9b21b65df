// Package lesson contains the mistakes with locks and stock, as programs. Each lesson makes a mistake on real servers,
// counts the damage, shows the cure, and checks that both results are as its page (docs/lessons) says.
//
// A lesson is a file with a constructor and a line in [All]. It prints its steps with [Env.Step] and [Env.Show]. It
// checks its statements with [Env.Check], which makes it a test. It stops, flushes and kills only servers and
// processes of its own: [Env.OwnRedis], [Env.Start].
package lesson
