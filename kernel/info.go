package kernel

import (
	"context"
	"errors"
	"sync"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// maxAsked bounds how many kernel_info_requests wait for the language. Clients
// repeat them every half second until one is answered.
const maxAsked = 1024

// errStarting is why there is no answer yet.
var errStarting = errors.New("the language process is starting")

// An info keeps the kernel_info_requests that wait, and the answer once the
// session has given it.
type info struct {
	sess Session
	wake chan struct{} // holds a token when somebody has asked

	mu     sync.Mutex // guards the fields below
	asked  []*protocol.Message
	runner *wire.Runner // nil while it is not known
}

func newInfo(sess Session) *info { return &info{sess: sess, wake: make(chan struct{}, 1)} }

// ask has m answered by the info goroutine. It reports false when too many wait.
func (i *info) ask(m *protocol.Message) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.asked) >= maxAsked {
		return false
	}
	i.asked = append(i.asked, m)
	signal(i.wake)
	return true
}

// get returns the answer, which is asked for once. It waits until the language
// is up or cannot be started; the latter is asked again next time.
func (i *info) get(ctx context.Context) (*wire.Runner, error) {
	i.mu.Lock()
	r := i.runner
	i.mu.Unlock()
	if r != nil {
		return r, nil
	}
	r, err := i.sess.Runner(ctx)
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	i.runner = r
	i.mu.Unlock()
	return r, nil
}

func (i *info) takeAsked() []*protocol.Message {
	i.mu.Lock()
	defer i.mu.Unlock()
	asked := i.asked
	i.asked = nil
	return asked
}

// answerInfo answers the kernel_info_requests of all channels until ctx ends.
func (s *serving) answerInfo(ctx context.Context) {
	for {
		select {
		case <-s.info.wake:
		case <-ctx.Done():
			return
		}
		r, err := s.info.get(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.log.Warn("the language process cannot be described", "error", err)
		}
		for _, m := range s.info.takeAsked() {
			s.describe(ctx, m, r, err)
		}
	}
}

func (s *serving) describe(ctx context.Context, m *protocol.Message, r *wire.Runner, why error) {
	defer s.recover(ctx, m)
	s.answer(ctx, m, func() (protocol.Content, error) { return s.kernelInfo(r, why), nil })
}

// kernelInfo returns the reply for the language process r. Without one it is a
// good reply too, or clients would wait for ever: with the language that the
// options name, and why in its banner.
func (s *serving) kernelInfo(r *wire.Runner, why error) *protocol.KernelInfoReply {
	k := &protocol.KernelInfoReply{
		Reply:             protocol.Reply{Status: protocol.StatusOK},
		ProtocolVersion:   protocol.Version,
		SupportedFeatures: []string{},
	}
	if r == nil {
		k.LanguageInfo = s.opts.Language
		if k.LanguageInfo.Name == "" {
			k.LanguageInfo = protocol.LanguageInfo{Name: "text", MimeType: "text/plain", FileExtension: ".txt"}
		}
		k.Banner = "gokernel: " + why.Error()
	} else {
		k.Implementation, k.ImplementationVersion = r.Implementation, r.ImplementationVersion
		k.LanguageInfo, k.Banner, k.HelpLinks = r.LanguageInfo, r.Banner, r.HelpLinks
	}
	if k.Implementation == "" {
		k.Implementation = "gokernel"
	}
	if k.ImplementationVersion == "" {
		k.ImplementationVersion = s.opts.Version
	}
	return k
}
