package protocol

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"sync"
)

// Reasons why received bytes are not a message. Such a message is dropped: it
// is never answered. The errors that wrap them may be logged, they quote
// nothing of what came.
var (
	// ErrMalformed is returned for bytes that do not have the form of a message.
	ErrMalformed = errors.New("malformed message")
	// ErrSignature is returned for a message that is not signed, or not with
	// the right key.
	ErrSignature = errors.New("message has no valid signature")
	// ErrReplay is returned for a message that has been received before.
	ErrReplay = errors.New("message was received before")
	// ErrChannel is returned for a message on a channel that does not exist.
	ErrChannel = errors.New("unknown channel")
)

// delimiter stands between a message's identities and its signature.
var delimiter = []byte("<IDS|MSG>")

// framesAfterDelimiter is how many frames follow the delimiter at least: the
// signature and four parts. Any further ones are buffers.
const framesAfterDelimiter = 5

// A Signer signs messages and checks signatures. It is safe for concurrent use.
// A nil Signer does neither.
type Signer struct {
	scheme string
	states *sync.Pool // of hash.Hash, keyed and reset; nil means no signing
}

// NewSigner returns a Signer for the scheme and key of a connection file. The
// scheme is hmac-sha256, also if it is empty, hmac-sha512 or hmac-md5. With an
// empty key messages are not signed and signatures are not looked at.
func NewSigner(scheme, key string) (*Signer, error) {
	if scheme == "" {
		scheme = SchemeHMACSHA256
	}
	var newHash func() hash.Hash
	switch scheme {
	case SchemeHMACSHA256:
		newHash = sha256.New
	case "hmac-sha512":
		newHash = sha512.New
	case "hmac-md5":
		newHash = md5.New
	default:
		return nil, fmt.Errorf("signature scheme %q is not supported: use hmac-sha256, hmac-sha512 or hmac-md5", scheme)
	}
	s := &Signer{scheme: scheme}
	if key != "" {
		k := []byte(key)
		s.states = &sync.Pool{New: func() any { return hmac.New(newHash, k) }}
	}
	return s, nil
}

// String returns the scheme of s. It never tells the key.
func (s *Signer) String() string {
	if s == nil || s.states == nil {
		return "unsigned"
	}
	return s.scheme
}

// sign returns the signature of the four parts: lowercase hexadecimal digits,
// none if s does not sign.
func (s *Signer) sign(header, parent, metadata, content []byte) []byte {
	if s == nil || s.states == nil {
		return nil
	}
	h := s.states.Get().(hash.Hash)
	for _, part := range [...][]byte{header, parent, metadata, content} {
		h.Write(part) // a hash never fails
	}
	var sum [sha512.Size]byte
	mac := h.Sum(sum[:0])
	h.Reset()
	s.states.Put(h)
	return hex.AppendEncode(make([]byte, 0, 2*len(mac)), mac)
}

// EncodeFrames returns m as the frames of a ZeroMQ message, signed by s:
//
//	identities... <IDS|MSG> signature header parent_header metadata content buffers...
//
// A message on iopub without identities begins with its [Topic]. The frames
// share the bytes of m and must not be changed.
func EncodeFrames(m *Message, s *Signer) ([][]byte, error) {
	header, err := m.HeaderJSON()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.Header.MsgType, err)
	}
	parent, metadata, content := orEmpty(m.Parent), orEmpty(m.Metadata), orEmpty(m.Content)
	frames := make([][]byte, 0, len(m.Identities)+2+framesAfterDelimiter+len(m.Buffers))
	if len(m.Identities) == 0 && m.Channel == IOPub {
		frames = append(frames, []byte(Topic(m)))
	}
	frames = append(frames, m.Identities...)
	frames = append(frames, delimiter, s.sign(header, parent, metadata, content), header, parent, metadata, content)
	return append(frames, m.Buffers...), nil
}

// DecodeFrames returns the message, received on ch, that frames hold, after it
// has checked the signature with s. What is wrong with frames that hold none
// is told by an error that wraps [ErrMalformed] or [ErrSignature].
//
// The message keeps the bytes of frames, which the caller must not change any
// more. An iopub message has its topic as its only identity. Of the content it
// is only checked that it looks like an object: see [Validate].
func DecodeFrames(frames [][]byte, s *Signer, ch Channel) (*Message, error) {
	at := indexDelimiter(frames)
	if at < 0 {
		return nil, fmt.Errorf("%w: no delimiter in %d frames", ErrMalformed, len(frames))
	}
	rest := frames[at+1:]
	if len(rest) < framesAfterDelimiter {
		return nil, fmt.Errorf("%w: %d frames after the delimiter, need %d", ErrMalformed, len(rest), framesAfterDelimiter)
	}
	// An empty signature where one is wanted differs in length and fails, too.
	want := s.sign(rest[1], rest[2], rest[3], rest[4])
	if want != nil && subtle.ConstantTimeCompare(rest[0], want) != 1 {
		return nil, ErrSignature
	}
	m, err := fromParts(ch, rest[1], rest[2], rest[3], rest[4])
	if err != nil {
		return nil, err
	}
	if at > 0 {
		m.Identities = frames[:at:at]
	}
	if len(rest) > framesAfterDelimiter {
		m.Buffers = rest[framesAfterDelimiter:]
	}
	return m, nil
}

func indexDelimiter(frames [][]byte) int {
	for i, f := range frames {
		if bytes.Equal(f, delimiter) {
			return i
		}
	}
	return -1
}

// Topic returns the topic of an iopub message, by which subscribers may filter:
// stream.stdout or stream.stderr for a stream, the subscription for an
// iopub_welcome, kernel.<session>.<msg_type> for all others.
func Topic(m *Message) string {
	switch m.Header.MsgType {
	case "stream":
		if name := stringField(m.Content, `"name"`); name != "" {
			return "stream." + name
		}
	case "iopub_welcome":
		return stringField(m.Content, `"subscription"`)
	}
	return "kernel." + m.Header.Session + "." + m.Header.MsgType
}

// stringField returns the string under the quoted key in the object raw, and ""
// if there is none. It reads no further than it must.
func stringField(raw []byte, quotedKey string) string {
	var found string
	stop := errors.New("found")
	// The error tells no more than found does: content without the field, or
	// that is no JSON, has no such string.
	_ = scanObject(raw, func(key, value []byte) error {
		if string(key) != quotedKey {
			return nil
		}
		found, _ = unquote(value) // "" if it is no string
		return stop
	})
	return found
}

var null = []byte("null")

// orEmpty returns part, or {} where there is nothing or null in its place.
func orEmpty(part []byte) []byte {
	if len(part) == 0 || bytes.Equal(part, null) {
		return emptyObject
	}
	return part
}
