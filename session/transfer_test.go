package session

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gokernel/gokernel/session/wire"
)

// A played connection reads what an agent is to have said; what is written to it
// goes nowhere.
type played struct {
	net.Conn
	r io.Reader
}

func (p played) Read(b []byte) (int, error)       { return p.r.Read(b) }
func (played) Write(b []byte) (int, error)        { return len(b), nil }
func (played) Close() error                       { return nil }
func (played) SetDeadline(time.Time) error        { return nil }
func (played) SetReadDeadline(t time.Time) error  { return nil }
func (played) SetWriteDeadline(t time.Time) error { return nil }

// play returns a link on which the agent says what.
func play(what []byte) *transferLink {
	c := played{r: bytes.NewReader(what)}
	r := wire.NewReader(c, transferPacket)
	return &transferLink{conn: c, r: r, w: wire.NewWriter(c)}
}

// said returns packets with these heads, those of data with a part.
func said(heads ...string) []byte {
	var b bytes.Buffer
	for _, head := range heads {
		p := &wire.Packet{Head: []byte(head)}
		if strings.Contains(head, `"data"`) {
			p.Parts = [][]byte{[]byte("abc")}
		}
		_, _ = p.WriteTo(&b)
	}
	return b.Bytes()
}

func TestTransferAnswers(t *testing.T) {
	const data, end = `{"type":"data"}`, `{"type":"end","size":3,"sha256":"`
	sum := sha256.Sum256([]byte("abc"))
	good := end + hex.EncodeToString(sum[:]) + `"}`
	bad := end + strings.Repeat("0", 64) + `"}`
	for what, test := range map[string]struct {
		says   []string
		broken bool
		fails  string
	}{
		"all":             {[]string{data, good}, false, ""},
		"another content": {[]string{data, bad}, true, "not what was sent"},
		"too much":        {[]string{data, data, good}, true, "not what was sent"},
		"too little":      {[]string{good}, true, "not what was sent"},
		"an error":        {[]string{data, `{"type":"end","code":"failed","error":"input/output error"}`}, false, "input/output error"},
		"no end":          {[]string{data}, true, "unexpected EOF"},
		"nothing":         {nil, true, "unexpected EOF"},
		"something else":  {[]string{`{"type":"welcome"}`}, true, "in place of an end"},
		"no JSON":         {[]string{`{`}, true, "malformed packet"},
	} {
		l := play(said(test.says...))
		var out bytes.Buffer
		n, err := l.get(t.Context(), wire.Transfer{Path: "a"}, &out)
		if test.fails == "" && (err != nil || n != 3 || out.String() != "abc") || test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)) {
			t.Errorf("%s: get = %d, %v with %q, want an error that says %q", what, n, err, &out, test.fails)
		}
		if l.broken != test.broken {
			t.Errorf("%s: the link is broken %v, want %v", what, l.broken, test.broken)
		}
	}
}

// A refusal that comes before all was sent ends a put.
func TestPutIsRefusedEarly(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go func() {
		r := wire.NewReader(theirs, 0)
		if _, err := r.Read(); err != nil {
			return
		}
		refusal := said(`{"type":"end","code":"failed","error":"no space left on device"}`)
		if _, err := theirs.Write(refusal); err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, theirs)
	}()
	l := &transferLink{conn: ours, r: wire.NewReader(ours, transferPacket), w: wire.NewWriter(ours)}
	defer l.close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := l.put(ctx, wire.Transfer{Path: "a"}, endless{})
	if err == nil || err.Error() != "no space left on device" || !l.broken {
		t.Errorf("put = %v with a broken link %v, want the refusal, and the link not used again", err, l.broken)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// Whatever an agent says, what is taken of it is right or an error.
func FuzzTransferAnswers(f *testing.F) {
	for _, heads := range [][]string{
		{`{"type":"data"}`, `{"type":"end","size":3}`}, {`{"type":"end","exit":{"code":1}}`}, {`{"type":"data","name":"stderr"}`},
		{`{"type":"end","error":"x"}`}, {`{"type":"end","code":"not exist"}`}, {`null`}, {``},
	} {
		f.Add(said(heads...))
	}
	f.Fuzz(func(t *testing.T, what []byte) {
		var out bytes.Buffer
		l := play(what)
		n, err := l.get(t.Context(), wire.Transfer{Path: "a"}, &out)
		if n != int64(out.Len()) || out.Len() > len(what) {
			t.Errorf("get = %d, %v and wrote %d bytes", n, err, out.Len())
		}
		if err == nil {
			sum := sha256.Sum256(out.Bytes())
			if !bytes.Contains(what, []byte(hex.EncodeToString(sum[:]))) && !bytes.Contains(what, []byte(`\u`)) {
				t.Errorf("get of %d bytes = nil though their hash was not said", n)
			}
		}
		if size, err := play(what).put(t.Context(), wire.Transfer{Path: "a"}, strings.NewReader("abc")); err == nil && size != 3 {
			t.Errorf("put = %d, want 3", size)
		}
		out.Reset()
		c := Command{Argv: []string{"x"}, Stdout: &out, Stderr: &out}
		if _, err := play(what).command(t.Context(), &c); err == nil && out.Len() > len(what) {
			t.Errorf("a command has written %d bytes of %d", out.Len(), len(what))
		}
	})
}
