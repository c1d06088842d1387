package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/kernel/zmq"
	"github.com/gokernel/gokernel/kernelspec"
	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session"
	"github.com/gokernel/gokernel/session/wire"
)

// endTime is how long ending a session may take when the kernel ends. Jupyter
// sends SIGTERM 2.5 s after a shutdown_request and SIGKILL soon after.
const endTime = 4 * time.Second

// sessionFlags are the flags that choose a session.
type sessionFlags struct {
	session   string
	keep      bool
	lease     time.Duration
	isolation string
	language  string
	python    string
	node      string
}

func (f *sessionFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.session, "session", "", "use the kept session with this name or id; a missing name is made")
	flags.BoolVar(&f.keep, "keep", false, "keep the session when the kernel ends")
	flags.DurationVar(&f.lease, "lease", 0, "how long a kept session may be idle (default 24h)")
	flags.StringVar(&f.isolation, "isolation", "process", "how code is isolated; so far only process, which isolates nothing")
	flags.StringVar(&f.python, "python", "python3", "the Python that runs the code")
	f.language = "python"
}

// addLanguage adds the flags of commands that run more than Python.
func (f *sessionFlags) addLanguage(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.language, "language", "python", "language of the code: python or javascript")
	flags.StringVar(&f.node, "node", "node", "the Node.js that runs JavaScript")
}

// request returns the session that the flags ask for.
func (f *sessionFlags) request() (session.OpenRequest, error) {
	if _, ok := isolations()[f.isolation]; !ok {
		return session.OpenRequest{}, usageError("--isolation %s is not there yet: use process, which isolates nothing", f.isolation)
	}
	if f.lease < 0 {
		return session.OpenRequest{}, usageError("--lease %v: it cannot be negative", f.lease)
	}
	if err := checkLanguage(f.language); err != nil {
		return session.OpenRequest{}, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return session.OpenRequest{}, fmt.Errorf("working directory: %w", err)
	}
	interpreter := f.python
	if f.language == "javascript" {
		interpreter = f.node
	}
	if path, err := exec.LookPath(interpreter); err == nil { // else the cell says that it is missing
		if interpreter, err = filepath.Abs(path); err != nil {
			return session.OpenRequest{}, err
		}
	}
	return session.OpenRequest{
		Session: f.session, Create: f.session != "", Kept: f.keep || f.session != "", Lease: f.lease,
		Language: f.language, Interpreter: interpreter, Isolation: f.isolation, Env: environment(), Dir: dir,
	}, nil
}

// environment returns the environment for user code: this process's, less what
// is about this process.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "JPY_PARENT_PID=") && !strings.HasPrefix(v, "JPY_INTERRUPT_EVENT=") {
			env = append(env, v)
		}
	}
	return env
}

func (a *app) kernelCommand() *cobra.Command {
	var file string
	var flags sessionFlags
	cmd := &cobra.Command{
		Use:   "kernel [-f FILE]",
		Short: "Serve a kernel over ZeroMQ",
		Long: `Serve a Jupyter kernel on the sockets that a connection file names. Jupyter clients
start it through the kernel spec that 'gokernel install' writes.

A plain kernel owns its session and takes it along when it ends, however that is. With
--session or --keep the session stands by itself: kill the kernel, start another one
with the same --session, and everything is still there.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			oneProcessor()
			return a.kernel(cmd.Context(), unquote(file), &flags)
		},
	}
	cmd.Flags().StringVarP(&file, "f", "f", "", "connection file; it is written if it is not there")
	cmd.Flags().StringVar(&file, "connection-file", "", "the same as -f")
	flags.add(cmd)
	flags.addLanguage(cmd)
	return cmd
}

// unquote removes quotes around a path: VS Code writes --f="a path".
func unquote(path string) string {
	if len(path) >= 2 && (path[0] == '"' || path[0] == '\'') && path[len(path)-1] == path[0] {
		return path[1 : len(path)-1]
	}
	return path
}

// kernel serves a kernel until it is told to end.
func (a *app) kernel(ctx context.Context, file string, flags *sessionFlags) error {
	log, err := a.logger()
	if err != nil {
		return err
	}
	request, err := flags.request()
	if err != nil {
		return err
	}
	conn, file, made, err := a.listen(file, log)
	if err != nil {
		return err
	}
	if made {
		defer os.Remove(file) // an old one does no harm
	}
	if !request.Kept {
		request.ConnectionFile = file
	}
	err = a.serveKernel(ctx, conn, request, log)
	return errors.Join(err, conn.Close())
}

// listen binds the sockets that the connection file names. A file that is not
// there is written, as ipykernel does, with ports that are free.
func (a *app) listen(file string, log *slog.Logger) (conn *zmq.Conn, path string, made bool, err error) {
	if file == "" {
		dir, err := kernelspec.RuntimeDir()
		if err != nil {
			return nil, "", false, err
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, "", false, fmt.Errorf("runtime directory: %w", err)
		}
		file = filepath.Join(dir, fmt.Sprintf("kernel-%d.json", os.Getpid()))
	}
	if file, err = filepath.Abs(file); err != nil {
		return nil, "", false, err
	}
	info, err := protocol.ReadConnectionFile(file)
	if errors.Is(err, os.ErrNotExist) {
		made = true
		info, err = protocol.ParseConnectionInfo([]byte("{}"))
		if err == nil {
			info.Key = uuid.NewString()
		}
	}
	if err != nil {
		return nil, "", false, err
	}
	conn, err = zmq.Listen(info, &zmq.Options{Logger: log})
	if err != nil {
		return nil, "", false, err
	}
	if made {
		if err := protocol.WriteConnectionFile(file, conn.Info()); err != nil {
			return nil, "", false, errors.Join(fmt.Errorf("connection file: %w", err), conn.Close())
		}
		fmt.Fprintf(a.stdout, "To connect another client to this kernel, use:\n    --existing %s\n", filepath.Base(file))
	}
	return conn, file, made, nil
}

// serveKernel opens the session and serves it on conn.
func (a *app) serveKernel(ctx context.Context, conn *zmq.Conn, request session.OpenRequest, log *slog.Logger) error {
	m, err := a.manager(log)
	if err != nil {
		return err
	}
	defer m.Release()
	s, err := m.Open(ctx, request)
	if err != nil {
		return err
	}
	attachment, err := s.Attach(ctx, wire.KernelOwner)
	if err != nil {
		if !s.Kept() {
			err = errors.Join(err, s.Close(context.WithoutCancel(ctx)))
		}
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var helpers sync.WaitGroup
	helpers.Go(func() { a.kernelSignals(ctx, cancel, attachment, log) })
	helpers.Go(func() { watchParent(ctx, cancel) })
	err = kernel.New(attachment, kernelOptions(log, conn.Info(), request.Language)).Serve(ctx, conn)
	cancel(nil)
	helpers.Wait()
	end, done := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer done()
	switch {
	case errors.Is(err, kernel.ErrSessionEnded):
		err = attachment.Close(end)
	case s.Kept() && errors.Is(err, kernel.ErrShutdown): // it has detached
		err = nil
	case s.Kept():
		err = attachment.Detach(end)
	default:
		err = attachment.Close(end)
	}
	return err
}

// kernelOptions returns the options of a kernel for a language; info is nil when
// clients do not come over ports.
func kernelOptions(log *slog.Logger, info *protocol.ConnectionInfo, language string) *kernel.Options {
	options := &kernel.Options{
		Logger: log, Connection: info, Version: versionString(),
		Language: protocol.LanguageInfo{
			Name: "python", MimeType: "text/x-python", FileExtension: ".py", PygmentsLexer: "ipython3",
			CodemirrorMode: json.RawMessage(`{"name":"ipython","version":3}`), NbconvertExporter: "python",
		},
	}
	if language == "javascript" {
		options.Language = protocol.LanguageInfo{
			Name: "javascript", MimeType: "text/javascript", FileExtension: ".js", PygmentsLexer: "javascript",
			CodemirrorMode: json.RawMessage(`{"name":"javascript"}`), NbconvertExporter: "script",
		}
	}
	return options
}

// errEnd is the cause with which a kernel ends that was told to.
var errEnd = errors.New("told to end")

// kernelSignals interrupts the code at SIGINT, as clients expect that do not
// send a message, and ends the kernel at the other signals.
func (a *app) kernelSignals(ctx context.Context, cancel context.CancelCauseFunc, attachment *session.Attachment, log *slog.Logger) {
	for {
		select {
		case s := <-a.signals:
			if s != os.Interrupt {
				cancel(fmt.Errorf("%w by %v", errEnd, s))
				return
			}
			if err := attachment.Interrupt(ctx); err != nil {
				log.Warn("interrupt", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

var _ kernel.Session = (*session.Attachment)(nil)
