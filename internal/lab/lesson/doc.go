// Package lesson contains the mistakes with locks and stock, as programs. Each lesson makes a mistake on real servers,
// counts the damage, shows the cure, and checks that both results are as its page (docs/lessons) says.
//
// A lesson is a file with a constructor, a line in [All] and its texts in texts/*.json. It returns scenes of actors,
// which package step plays: for a reader who watches, for one who steps, and for tests. What it claims is checked at
// the end of a scene, which makes it a test. The actors run the code of inventory-srv's strategies and of its gallery
// of mistakes, which stops between its statements; see call. A lesson stops, flushes and kills only servers and
// processes of its own: [Env.OwnRedis], [Env.Start]. On a shared broker it has a namespace of its own.
package lesson
