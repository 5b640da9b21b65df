package devbroker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxFrame is the largest length of a frame in bytes that is read. The largest message has 4 MiB.
const maxFrame = 16 << 20

// Bits of a header's flag.
const (
	flagAnswer = 1
	flagOneWay = 2
)

// ourVersion must stay below 32768: the client library drops the frame otherwise.
const ourVersion = 317

// errFrame is a frame that cannot be understood. What follows it on its connection cannot be either.
var errFrame = errors.New("malformed frame")

// header is a frame's JSON header. All values of the fields are strings, numbers too.
type header struct {
	Code     int16             `json:"code"`
	Language string            `json:"language"`
	Version  int16             `json:"version"`
	Opaque   int32             `json:"opaque"` // ties an answer to its request
	Flag     int32             `json:"flag"`
	Remark   string            `json:"remark,omitempty"`
	Fields   map[string]string `json:"extFields,omitempty"`
}

// frame is a request or an answer.
type frame struct {
	header
	body []byte
}

// readFrame reads one frame: length, codec and header length, header, body. Nothing is allocated for what a prefix only
// claims to bring. The error is io.EOF between frames, errFrame for nonsense, or that of r.
func readFrame(r io.Reader) (frame, error) {
	var prefix [8]byte
	if n, err := io.ReadFull(r, prefix[:]); err != nil {
		if n > 0 && errors.Is(err, io.ErrUnexpectedEOF) {
			return frame{}, fmt.Errorf("%w: it ends after %d bytes", errFrame, n)
		}
		return frame{}, err
	}
	length, word := binary.BigEndian.Uint32(prefix[:]), binary.BigEndian.Uint32(prefix[4:])
	headerLength := word & 0xffffff
	if length < 4 || length > maxFrame || headerLength > length-4 {
		return frame{}, fmt.Errorf("%w: length %d, header %d", errFrame, length, headerLength)
	}
	if codec := word >> 24; codec != 0 {
		return frame{}, fmt.Errorf("%w: codec %d, only JSON (0) is served", errFrame, codec)
	}
	rest, err := readAll(r, int(length-4))
	if err != nil {
		return frame{}, err
	}
	var f frame
	if err := json.Unmarshal(rest[:headerLength], &f.header); err != nil {
		return frame{}, fmt.Errorf("%w: header: %w", errFrame, err)
	}
	f.body = rest[headerLength:]
	return f, nil
}

// readAll reads n bytes, and takes memory as they come.
func readAll(r io.Reader, n int) ([]byte, error) {
	const step = 64 << 10
	b := make([]byte, 0, min(n, step))
	for len(b) < n {
		from := len(b)
		b = append(b, make([]byte, min(n-from, max(step, from)))...)
		if _, err := io.ReadFull(r, b[from:]); err != nil {
			return nil, fmt.Errorf("%w: %w", errFrame, err)
		}
	}
	return b, nil
}

// writeTo encodes f.
func (f frame) writeTo(w io.Writer) error {
	f.Language, f.Version = "GO", ourVersion
	head, err := json.Marshal(f.header)
	if err != nil {
		return err
	}
	out := make([]byte, 8, 8+len(head))
	binary.BigEndian.PutUint32(out, uint32(4+len(head)+len(f.body))) //nolint:gosec // both are far below the limit.
	binary.BigEndian.PutUint32(out[4:], uint32(len(head)))           //nolint:gosec // as above.
	if _, err := w.Write(append(out, head...)); err != nil {
		return err
	}
	_, err = w.Write(f.body)
	return err
}
