package check

import "time"

// Branch is a prepared branch of a global transaction of the flow xa.
type Branch struct {
	OrderNo string        `json:"order_no"` // the global transaction
	Side    string        `json:"side"`     // whose database has it: orders or inventory
	State   string        `json:"state"`    // of the order in the coordinator's log; "": it has no row
	Age     time.Duration `json:"age_ns"`
	Locks   []string      `json:"locks"` // rows that nobody else can change while the branch is prepared
}

// Decision is a row of the log of the flow xa, with its order's status of the same moment.
type Decision struct {
	OrderNo  string
	State    string
	Decision string // commit or abort; "": none
	Status   string // of the order; "": there is no order
}

// The states and decisions of the log of the flow xa.
const (
	xaPreparing = "preparing"
	xaCommit    = "commit"
	xaAbort     = "abort"
	xaDone      = "done"
)

// Branches checks the first half of invariant 11. late is the age from which a branch should have been ended. The
// branches are copied into the report.
func (c *Checker) Branches(branches []Branch, late time.Duration) {
	c.report.Branches = branches
	for _, b := range branches {
		of := ofOrder(b.OrderNo, nil)
		if b.Age > late {
			c.report.violation(11, of, "has had a prepared branch in %s for %v", b.Side, b.Age.Round(time.Second))
			continue
		}
		c.report.unsettled(11, of, "has a prepared branch in %s", b.Side)
	}
}

// BranchesAway reports that the branches of a side could not be listed.
func (c *Checker) BranchesAway(side string, err error) {
	c.report.unsettled(11, ofShop("branches of "+side), "cannot be listed: %v", err)
}

// Decisions checks the second half of invariant 11: an order ends as its log says.
func (c *Checker) Decisions(rows []Decision) {
	for _, d := range rows {
		c.report.decision(d)
	}
}

func (r *Report) decision(d Decision) {
	of := ofOrder(d.OrderNo, nil)
	ended := d.Status == rejected || d.Status == abandoned // without its stock
	switch {
	case d.State == xaPreparing && d.Status == pending:
	case d.State == xaPreparing && ended:
		// A replica that did not know the flow has ended the order. The recovery aborts.
		r.unsettled(11, of, "is %s, and the log of xa has not decided", d.Status)
	case d.State != xaPreparing && d.State != xaDone && d.Status == pending:
		r.unsettled(11, of, "is PENDING, and the log of xa says %s", d.State)
	case d.State == xaPreparing, d.Status == "", d.Status == pending,
		d.Decision == xaCommit && ended, d.Decision == xaAbort && !ended, d.Decision == "":
		r.violation(11, of, "is %s, and the log of xa says %s, decided %q", d.inWords(), d.State, d.Decision)
	case d.State != xaDone:
		r.unsettled(11, of, "is %s, and its branches have not been found ended", d.Status)
	}
}

func (d Decision) inWords() string {
	if d.Status == "" {
		return "not in orders"
	}
	return d.Status
}
