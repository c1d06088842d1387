package zmq

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/gokernel/gokernel/protocol"
)

var errNoMessage = errors.New("no message to send")

// A codec turns messages into frames and back, and checks what comes in.
type codec struct {
	signer *protocol.Signer
	replay protocol.Replay
}

func newCodec(info *protocol.ConnectionInfo) (*codec, error) {
	s, err := protocol.NewSigner(info.SignatureScheme, info.Key)
	if err != nil {
		return nil, fmt.Errorf("connection info: %w", err)
	}
	return &codec{signer: s}, nil
}

func (c *codec) encode(m *protocol.Message) ([][]byte, error) {
	if m == nil {
		return nil, errNoMessage
	}
	return protocol.EncodeFrames(m, c.signer)
}

func (c *codec) decode(frames [][]byte, ch protocol.Channel) (*protocol.Message, error) {
	m, err := protocol.DecodeFrames(frames, c.signer, ch)
	if err != nil {
		return nil, err
	}
	if err := c.replay.Check(frames); err != nil {
		return nil, err
	}
	return m, nil
}

// drops counts the messages of one peer that were not valid. It is used by the
// goroutine that reads from the peer.
type drops struct{ n int }

// log says why a message is dropped, less and less often.
func (d *drops) log(l *slog.Logger, err error) {
	d.n++
	if d.n&(d.n-1) == 0 {
		l.Warn("message dropped", "reason", err, "dropped_from_peer", d.n)
	}
}
