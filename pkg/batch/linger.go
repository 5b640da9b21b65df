package batch

import "time"

const (
	lingerPart    = 0.8  // of a flush's time, in which its callers must be back: the next flush waits no longer for them
	lingerTrust   = 0.6  // how often callers must have been back in time for a flush to wait for them
	lingerHistory = 24   // flushes over which that is smoothed
	lingerMemory  = 0.98 // what a flush counts beside the next one, in the experience of how long flushes take
	lingerSpread  = 0.1  // of the batches' sizes, to their mean: with less, they do not say what a call takes
	lingerGuess   = 0.75 // the part of a flush's time that is taken to be fixed until sizes have differed
)

// linger decides whether a flush that could begin waits for callers that come back, see [WithLinger]. Its methods need
// the Batcher's mutex.
//
// Callers that call again as soon as they are answered divide into two parts that take turns: one is in the flush while
// the other one waits, and no batch has all the calls that it could have. The next flush waits for the callers of the
// last one if
//
//   - they come back in time, which after most of the last flushes they did. Calls that arrive by chance do not: as
//     many as a flush has answered come in during a whole flush, and not in a part of it;
//   - it pays. Let fixed be the part of a flush's time that is the same for one call as for a thousand. To wait w for n
//     callers when q calls are here takes n+q calls in fixed+w, instead of q in fixed. That is faster if n·fixed > q·w.
type linger struct {
	max time.Duration // 0: no flush waits

	together int // calls of the flush that runs, with those that waited when it began to answer

	// Of the last flush.
	ended   time.Time
	window  time.Duration // in which its callers must be back
	callers int           // together, when it was
	here    int           // how many calls there have been since then, with those that waited at its end
	after   time.Duration // until nearly all callers were back; the window, if they were not back within it

	trust float64 // how often callers were back in time, smoothed
	usual float64 // seconds until they are, smoothed
	fit   fit     // of a flush's time to its size

	filled chan struct{} // closed when the queue has what a flush waits for; nil: none waits
	enough int           // calls that it waits for
}

// arrive notes n new calls, with which the queue has so many.
func (l *linger) arrive(n, queued int) {
	if l.max == 0 {
		return
	}
	crowd := nearlyAll(l.callers)
	if l.here < crowd && l.here+n >= crowd {
		l.after = min(l.window, time.Since(l.ended))
	}
	l.here += n
	if l.filled != nil && queued >= l.enough {
		close(l.filled)
		l.filled = nil
	}
}

// nearlyAll is seven of eight callers, or all of a few.
func nearlyAll(callers int) int { return callers - callers/8 }

// answer notes that a flush begins to answer its calls while so many others wait: so many callers may come together.
func (l *linger) answer(calls, queued int) { l.together = calls + queued }

// end notes the end of a flush, and learns from what has happened since the one before.
func (l *linger) end(calls int, took time.Duration, queued int) {
	if l.max == 0 {
		return
	}
	back := 0.0
	if l.after < l.window {
		back = 1
	}
	l.trust += (back - l.trust) / lingerHistory
	l.usual += (l.after.Seconds() - l.usual) / lingerHistory
	l.fit.note(float64(calls), took.Seconds())
	l.ended, l.window = time.Now(), min(l.max, time.Duration(lingerPart*float64(took)))
	l.callers, l.here, l.after = l.together, queued, l.window
	if queued >= nearlyAll(l.callers) { // a flush may answer long before its end
		l.after = 0
	}
}

// patience returns how long a flush that could begin waits, and a channel that is closed when its callers are there; 0:
// it does not wait. most is how many calls it can take.
func (l *linger) patience(queued, most int) (time.Duration, <-chan struct{}) {
	wait := l.window - time.Since(l.ended)
	if l.trust < lingerTrust || wait <= 0 {
		return 0, nil
	}
	l.enough = min(l.callers, most)
	if float64(l.enough-queued)*l.fit.fixed <= float64(queued)*l.usual {
		return 0, nil
	}
	l.filled = make(chan struct{})
	return wait, l.filled
}

// fit is a straight line through the times of flushes by their sizes, by least squares. It forgets old ones.
type fit struct {
	flushes, calls, seconds, squares, products float64 // sums

	fixed float64 // seconds of a flush without calls
}

// note adds a flush. Without flushes of different sizes, the line stays what it was.
func (f *fit) note(calls, seconds float64) {
	f.flushes = lingerMemory*f.flushes + 1
	f.calls = lingerMemory*f.calls + calls
	f.seconds = lingerMemory*f.seconds + seconds
	f.squares = lingerMemory*f.squares + calls*calls
	f.products = lingerMemory*f.products + calls*seconds
	size, took := f.calls/f.flushes, f.seconds/f.flushes
	spread := f.squares/f.flushes - size*size
	switch {
	case spread > lingerSpread*lingerSpread*size*size:
		each := max(0, (f.products/f.flushes-size*took)/spread)
		f.fixed = max(0, took-each*size)
	case f.fixed == 0:
		f.fixed = lingerGuess * took
	}
}
