package devbroker

import (
	"fmt"
	"strconv"
)

// Request codes.
const (
	reqSend           = 10
	reqPull           = 11
	reqQueryOffset    = 14
	reqUpdateOffset   = 15
	reqCreateTopic    = 17
	reqSearchOffset   = 29
	reqMaxOffset      = 30
	reqMinOffset      = 31
	reqEarliestTime   = 32
	reqHeartbeat      = 34
	reqUnregister     = 35
	reqSendBack       = 36
	reqEndTransaction = 37
	reqConsumers      = 38
	reqCheck          = 39 // ours to a producer
	reqGroupChanged   = 40 // ours to a consumer
	reqLock           = 41
	reqUnlock         = 42
	reqRoute          = 105
	reqCluster        = 106
	reqCreateGroup    = 200
	reqGroups         = 201
	reqTopics         = 206
	reqDeleteTopic    = 215
	reqForgetTopic    = 216
	reqSendV2         = 310
	reqSendBatch      = 320
	reqTopicConfig    = 351
)

// Answer codes.
const (
	success         = 0
	systemError     = 1
	notSupported    = 3
	messageIllegal  = 13
	noTopic         = 17
	nothingNew      = 19
	offsetMoved     = 21
	noOffset        = 22
	badSubscription = 23
	endRefused      = 604
)

// refusal is an answer other than success.
type refusal struct {
	code   int16
	remark string
}

// Error implements error.
func (r *refusal) Error() string { return fmt.Sprintf("code %d: %s", r.code, r.remark) }

func refuse(code int16, format string, args ...any) error {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// fields reads a request's fields and keeps the first fault, which the caller looks at once.
type fields struct {
	of  map[string]string
	err error
}

func (f *fields) text(name string) string { return f.of[name] }

// number reads a number that must be there.
func (f *fields) number(name string) int64 {
	n, err := strconv.ParseInt(f.of[name], 10, 64)
	if err != nil && f.err == nil {
		f.err = refuse(systemError, "field %s: %q is no number", name, f.of[name])
	}
	return n
}

// numberOr reads a number that may be missing.
func (f *fields) numberOr(name string, missing int64) int64 {
	if f.of[name] == "" {
		return missing
	}
	return f.number(name)
}

// small reads a number of 32 bits.
func (f *fields) small(name string, missing int32) int32 {
	n := f.numberOr(name, int64(missing))
	if int64(int32(n)) != n { //nolint:gosec // that is what is checked.
		if f.err == nil {
			f.err = refuse(systemError, "field %s: %d has more than 32 bits", name, n)
		}
		return 0
	}
	return int32(n) //nolint:gosec // checked.
}
