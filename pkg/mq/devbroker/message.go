package devbroker

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"net"
	"slices"
	"strings"
	"time"
)

// Limits of a message, in bytes.
const (
	maxBody  = 4 << 20
	maxProps = 32_000 // below 32,767, so that what the broker adds still fits
)

const messageMagic = 0xDAA320A7

// Bits of a message's sysFlag that this broker looks at.
const (
	txBits   = 0xC
	txCommit = 8
	bornV6   = 0x10
	storeV6  = 0x20
)

// message is one message. Once it is in a queue it is never changed, so it can be encoded without a lock.
type message struct {
	topic string
	queue int32
	props map[string]string
	body  []byte

	flag, sysFlag, reconsumed int32
	bornAt                    int64 // ms since 1970
	bornHost, storeHost       [8]byte

	offset   int64 // in its queue
	pos      int64 // commit-log offset
	prepared int64 // commit-log offset of its half, when it was in a transaction
	stored   time.Time
	encoded  string // the properties
}

// again returns a copy that can be stored once more, in another place.
func (m *message) again() *message {
	n := *m
	n.props = maps.Clone(m.props)
	n.pos, n.offset = 0, 0
	return &n
}

// id is the offset message identifier: store host and commit-log offset in upper-case hex.
func (m *message) id() string { return fmt.Sprintf("%X%016X", m.storeHost, m.pos) }

// host encodes an address as four bytes and a port; one that is not IPv4 becomes 127.0.0.1.
func host(a net.Addr) (h [8]byte) {
	ip, port := net.IPv4(127, 0, 0, 1).To4(), 0
	if t, ok := a.(*net.TCPAddr); ok {
		port = t.Port
		if v4 := t.IP.To4(); v4 != nil {
			ip = v4
		}
	}
	copy(h[:4], ip)
	binary.BigEndian.PutUint32(h[4:], uint32(port)) //nolint:gosec // a port has 16 bits.
	return h
}

// encode appends the message as the client library reads it.
func (m *message) encode(to []byte) []byte {
	start := len(to)
	u32 := func(v int32) { to = binary.BigEndian.AppendUint32(to, uint32(v)) } //nolint:gosec // bits are bits.
	u64 := func(v int64) { to = binary.BigEndian.AppendUint64(to, uint64(v)) } //nolint:gosec // bits are bits.
	u32(0)                                                                     // the size, below
	to = binary.BigEndian.AppendUint32(to, messageMagic)
	to = binary.BigEndian.AppendUint32(to, crc32.ChecksumIEEE(m.body)&0x7fffffff)
	u32(m.queue)
	u32(m.flag)
	u64(m.offset)
	u64(m.pos)
	u32(m.sysFlag &^ (bornV6 | storeV6))
	u64(m.bornAt)
	to = append(to, m.bornHost[:]...)
	u64(m.stored.UnixMilli())
	to = append(to, m.storeHost[:]...)
	u32(m.reconsumed)
	u64(m.prepared)
	u32(int32(len(m.body))) //nolint:gosec // at most maxBody.
	to = append(to, m.body...)
	to = append(to, byte(len(m.topic))) //nolint:gosec // at most maxName.
	to = append(to, m.topic...)
	to = binary.BigEndian.AppendUint16(to, uint16(len(m.encoded))) //nolint:gosec // limited on receipt.
	to = append(to, m.encoded...)
	binary.BigEndian.PutUint32(to[start:], uint32(len(to)-start)) //nolint:gosec // all parts are limited.
	return to
}

// parseProps reads name 0x01 value 0x02 and so on. What is not a pair is left out, as the client library does.
func parseProps(text string) map[string]string {
	props := make(map[string]string)
	for entry := range strings.SplitSeq(text, "\x02") {
		name, value, ok := strings.Cut(entry, "\x01")
		if ok && name != "" && !strings.Contains(value, "\x01") {
			props[name] = value
		}
	}
	return props
}

// encodeProps fixes the properties for encode.
func (m *message) encodeProps() {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m.props)) {
		b.WriteString(name + "\x01" + m.props[name] + "\x02")
	}
	m.encoded = b.String()
}
