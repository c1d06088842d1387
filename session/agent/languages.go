package agent

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"github.com/gokernel/gokernel/session/wire"
)

// A session has its own language, that of its kernel, whose process is started
// with it. A run may ask for another one: that gets a process of its own, started
// when it is first needed. All share the queue. What befalls one process, its
// death or a restart, concerns what is meant for it and nothing else.

// maxLanguages is how many languages a session can have.
const maxLanguages = 16

// language returns the language that r is for; it makes it known to the session
// but starts nothing. The error says that there is no such language here.
func (a *Agent) language(r *request) (*language, error) {
	name := a.config.Language
	if r.run != nil && r.run.Language != "" {
		name = r.run.Language
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if l, ok := a.langs[name]; ok {
		return l, nil
	}
	spoken, ok := a.opts.Languages(name)
	if !ok {
		return nil, fmt.Errorf("metadata.%s.language: language %q is not known here", wire.RunKey, name)
	}
	if len(a.langs) >= maxLanguages {
		return nil, fmt.Errorf("metadata.%s.language: the session has %d languages already, there is no room for %q", wire.RunKey, len(a.langs), name)
	}
	l := newLanguage(a, name, spoken, "")
	a.langs[name] = l
	return l, nil
}

// assign says which language performs r; one that asks for what is not there is
// answered in the session's own.
func (a *Agent) assign(r *request) error {
	l, err := a.language(r)
	if err != nil {
		l = a.lang
	}
	r.lang = l
	return err
}

// choose notes the program of a language that r is about to start. What the
// session's own language runs in was said when it was made.
func (l *language) choose(r *request) {
	if !l.isOwn() && r.run != nil && r.run.Interpreter != "" {
		l.interpreter = r.run.Interpreter
	}
}

// next says, for users, how a language goes on after its process has died.
func (l *language) next() string {
	if l.isOwn() {
		return "a new process has been started"
	}
	return "the next run starts a new process"
}

// count returns the last execution count of r's language.
func (r *request) count() int64 { return r.lang.count.Load() }

// packageDir is the folder for what is installed into the session for a
// language.
func (a *Agent) packageDir(language string) string {
	return filepath.Join(a.spec.Dir, "packages", language)
}

// languages returns the languages of the session, its own first, in no order.
func (a *Agent) languages() []*language {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := []*language{a.lang}
	for _, l := range a.langs {
		if l != a.lang {
			all = append(all, l)
		}
	}
	return all
}

// spoken returns the names of the session's own language and of those that have a
// process now.
func (a *Agent) spoken() []string {
	var names []string
	for _, l := range a.languages() {
		if p, _ := l.get(); l.isOwn() || p != nil && !closed(p.dead) {
			names = append(names, l.name)
		}
	}
	slices.Sort(names[1:])
	return names
}

// stopLanguages ends all language processes for good, all at once. The
// dispatcher has ended.
func (a *Agent) stopLanguages() {
	var stops sync.WaitGroup
	for _, l := range a.languages() {
		stops.Go(l.stop)
	}
	stops.Wait()
}
