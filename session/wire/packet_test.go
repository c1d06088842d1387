package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gokernel/gokernel/protocol"
)

// randomPacket returns a packet with parts of all the sizes that are treated in
// different ways.
func randomPacket(r *rand.Rand) *Packet {
	p := &Packet{Head: json.RawMessage(`{"type":"x","n":` + strings.Repeat("1", 1+r.IntN(40)) + `}`)}
	sizes := []int{0, 1, 100, largePart - 1, largePart, largePart + 1, gatherSize, 3 * gatherSize, maxUnwritten + 1}
	for range r.IntN(6) {
		part := make([]byte, sizes[r.IntN(len(sizes))])
		for i := range part {
			part[i] = byte(r.Uint32())
		}
		p.Parts = append(p.Parts, part)
	}
	return p
}

func same(a, b *Packet) bool {
	return a != nil && bytes.Equal(a.Head, b.Head) && slices.EqualFunc(a.Parts, b.Parts, bytes.Equal)
}

// What is written comes out, however it is written and read.
func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 10 {
		var want []*Packet
		var one, gathered bytes.Buffer
		w := NewWriter(&gathered)
		for range 1 + r.IntN(20) {
			p := randomPacket(r)
			want = append(want, p)
			n, err := p.WriteTo(&one)
			if size := int64(one.Len()); err != nil || n > size {
				t.Fatalf("WriteTo = %d, %v; %d bytes are there", n, err, size)
			}
			if err := w.Write(p); err != nil {
				t.Fatal(err)
			}
			if r.IntN(4) == 0 {
				if err := w.Flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(one.Bytes(), gathered.Bytes()) {
			t.Fatal("a Writer writes other bytes than WriteTo")
		}
		for _, in := range []io.Reader{&one, iotest.HalfReader(&gathered)} {
			reader := NewReader(in, 0)
			for i, p := range want {
				got, err := reader.Read()
				if err != nil || !same(got, p) {
					t.Fatalf("packet %d of %d parts came differently, %v", i, len(p.Parts), err)
				}
			}
			if _, err := reader.Read(); !errors.Is(err, io.EOF) {
				t.Errorf("Read at the end = %v, want io.EOF", err)
			}
		}
	}
}

// Over a socket large parts go out without being copied, in one call.
func TestWriterOverSocket(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r := rand.New(rand.NewPCG(3, 4))
	var want []*Packet
	for range 40 {
		want = append(want, randomPacket(r))
	}
	written := make(chan error, 1)
	go func() {
		w := NewWriter(c)
		var err error
		for _, p := range want {
			err = errors.Join(err, w.Write(p))
		}
		written <- errors.Join(err, w.Flush())
	}()
	reader := NewReader(in, 0)
	for i, p := range want {
		if got, err := reader.Read(); err != nil || !same(got, p) {
			t.Fatalf("packet %d differs (%v)", i, err)
		}
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

func TestPacketsThatAreNone(t *testing.T) {
	word := func(n ...uint32) string {
		var b []byte
		for _, v := range n {
			b = binary.BigEndian.AppendUint32(b, v)
		}
		return string(b)
	}
	for name, test := range map[string]struct {
		in   string
		want error
	}{
		"no parts":        {word(0), ErrPacket},
		"too many parts":  {word(MaxParts + 1), ErrPacket},
		"head too large":  {word(1, MaxHead+1), ErrPacket},
		"too large":       {word(2, 2, 1000) + "{}", ErrPacket},
		"cut in count":    {"\x00\x00", io.ErrUnexpectedEOF},
		"cut in lengths":  {word(2, 2), io.ErrUnexpectedEOF},
		"cut in body":     {word(1, 2) + "{", io.ErrUnexpectedEOF},
		"nothing":         {"", io.EOF},
		"nothing but end": {word(1, 2) + "{}", nil},
	} {
		if _, err := NewReader(strings.NewReader(test.in), 500).Read(); !errors.Is(err, test.want) {
			t.Errorf("%s: Read = %v, want %v", name, err, test.want)
		}
	}
	// What is recycled is used again, and what is not is left alone.
	var b bytes.Buffer
	for _, text := range []string{"first", "second", "third"} {
		if _, err := (&Packet{Head: json.RawMessage("{}"), Parts: [][]byte{[]byte(text)}}).WriteTo(&b); err != nil {
			t.Fatal(err)
		}
	}
	r := NewReader(&b, 0)
	first, _ := r.Read()
	second, _ := r.Read()
	r.Recycle(second)
	third, err := r.Read()
	if err != nil || string(first.Part(0)) != "first" || string(third.Part(0)) != "third" || second.Part(0) != nil {
		t.Errorf("packets %q, %q, %q (%v), want the first and the third", first.Part(0), second.Part(0), third.Part(0), err)
	}
	if _, err := (&Packet{Head: make([]byte, MaxHead+1)}).WriteTo(io.Discard); err == nil {
		t.Error("writing a head that is too large = nil, want an error")
	}
	if n, err := (&Packet{Parts: make([][]byte, MaxParts)}).WriteTo(io.Discard); err == nil || n != 0 {
		t.Errorf("writing too many parts = %d, %v; want nothing written and an error", n, err)
	}
}

// A length that lies reserves no memory to speak of.
func TestLyingLength(t *testing.T) {
	in := binary.BigEndian.AppendUint32(nil, 2)
	in = binary.BigEndian.AppendUint32(in, 2)
	in = binary.BigEndian.AppendUint32(in, 1<<31-1<<20)
	in = append(in, "{}and no more"...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := NewReader(bytes.NewReader(in), 0).Read()
	runtime.ReadMemStats(&after)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Read = %v, want io.ErrUnexpectedEOF", err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 2*reserve {
		t.Errorf("%d bytes were allocated, want no more than %d", n, 2*reserve)
	}
}

// A writer that has failed writes nothing more: a part of a packet is out.
func TestWriterFails(t *testing.T) {
	pr, pw := io.Pipe()
	_ = pr.Close()
	w := NewWriter(pw)
	p := &Packet{Head: json.RawMessage(`{}`)}
	if err := errors.Join(w.Write(p), w.Flush()); !errors.Is(err, io.ErrClosedPipe) {
		t.Fatalf("Flush = %v, want io.ErrClosedPipe", err)
	}
	if err := w.Write(p); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Write afterwards = %v, want the same error", err)
	}
}

func TestFrameRoundTrip(t *testing.T) {
	for _, want := range []*Frame{
		{Kind: KindMessage, Content: []byte("{}")},
		{
			Cursor: Cursor{3, 1 << 50}, Kind: KindRequest, Request: "r\"\n\x00", Owner: "run", Channel: protocol.Stdin, MsgType: "input_request",
			Time: time.UnixMicro(1_700_000_000_123_456).UTC(), Identities: [][]byte{{0, 255}, {}}, Parent: []byte(`{"msg_id":"x"}`),
			Metadata: []byte(`{"m":1}`), Content: []byte(`{"prompt":""}`), Buffers: [][]byte{{1}, make([]byte, 100_000)},
		},
	} {
		p, err := want.Packet()
		if err != nil {
			t.Fatal(err)
		}
		if p.Type() != TypeFrame {
			t.Errorf("type %q, want frame", p.Type())
		}
		got, err := ParseFrame(p)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, want, cmpopts.EquateEmpty(), cmpopts.EquateApproxTime(time.Microsecond)); want.Time.IsZero() == false && diff != "" {
			t.Errorf("frame differs (-got +want):\n%s", diff)
		}
		if id, want := got.MsgID("s"), want.MsgID("s"); id != want {
			t.Errorf("msg_id %s, want %s", id, want)
		}
	}
}

func TestRequestLimits(t *testing.T) {
	good := Request{ID: "r", MsgType: "execute_request"}
	for name, change := range map[string]func(*Request){
		"no id":     func(r *Request) { r.ID = "" },
		"no type":   func(r *Request) { r.MsgType = "" },
		"long id":   func(r *Request) { r.ID = strings.Repeat("x", MaxID+1) },
		"long type": func(r *Request) { r.MsgType = strings.Repeat("x", MaxID+1) },
		"address":   func(r *Request) { r.Origin.Identities = [][]byte{make([]byte, MaxAddress), {1}} },
		"buffers":   func(r *Request) { r.Buffers = make([][]byte, MaxParts) },
	} {
		r := good
		change(&r)
		if err := r.Check(); !errors.Is(err, ErrPacket) {
			t.Errorf("%s: Check = %v, want ErrPacket", name, err)
		}
	}
	if err := good.Check(); err != nil {
		t.Errorf("Check = %v, want nil", err)
	}
}

// FuzzRead: whatever comes, Read neither panics nor loops, and what it takes for
// a packet is written back the same.
func FuzzRead(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 5 {
		var b bytes.Buffer
		p := randomPacket(r)
		if len(p.Parts) > 2 {
			p.Parts = p.Parts[:2]
		}
		if _, err := p.WriteTo(&b); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes()[:min(b.Len(), 4096)])
	}
	f.Add([]byte("\x00\x00\x00\x01\x00\x00\x00\x02{}"))
	f.Fuzz(func(t *testing.T, in []byte) {
		reader := NewReader(bytes.NewReader(in), 1<<20)
		var out bytes.Buffer
		for {
			p, err := reader.Read()
			if err != nil {
				break
			}
			_ = p.Type()
			_ = p.Part(0)
			if _, err := p.WriteTo(&out); err != nil {
				t.Fatalf("a packet that was read cannot be written: %v", err)
			}
		}
		if !bytes.HasPrefix(in, out.Bytes()) {
			t.Errorf("read and written %q, want the beginning of %q", out.Bytes(), in)
		}
	})
}

// FuzzParseFrame: a head that is taken for a frame's comes back the same.
func FuzzParseFrame(f *testing.F) {
	f.Add([]byte(`{"type":"frame","e":1,"n":2,"k":"message","r":"x","c":"iopub","t":"stream","d":1700000000000000}`), []byte("{}"), []byte("b"))
	f.Add([]byte(`{"type":"frame","a":["AAE="]}`), []byte(""), []byte(""))
	f.Add([]byte(`null`), []byte(""), []byte(""))
	f.Fuzz(func(t *testing.T, head, content, buffer []byte) {
		p := &Packet{Head: head, Parts: [][]byte{nil, nil, content, buffer}}
		frame, err := ParseFrame(p)
		if err != nil {
			return
		}
		again, err := frame.Packet()
		if err != nil {
			t.Fatalf("a frame that was read cannot be written: %v", err)
		}
		second, err := ParseFrame(again)
		if err != nil {
			t.Fatalf("a frame that was written cannot be read: %v", err)
		}
		if !reflect.DeepEqual(frame, second) {
			t.Errorf("frame %+v, want %+v", second, frame)
		}
	})
}
