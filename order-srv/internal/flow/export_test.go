package flow

import (
	"context"
	"time"
)

// XADatabase is what the tests of the guards replace by one with a mistake.
type XADatabase = xaDatabase

// WithDatabases has the flow place and end orders in these databases.
func (f *XA) WithDatabases(placing, ending XADatabase) { f.placing, f.ending = placing, ending }

// WithClock has the flow's recovery ask now when it is to log again.
func (f *XA) WithClock(now func() time.Time) { f.reminders = newReminders(now) }

// Pass is one pass of the recovery.
func (f *XA) Pass(ctx context.Context) error { return f.pass(ctx) }
