package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gokernel/gokernel/session"
	"github.com/gokernel/gokernel/session/wire"
)

func (a *app) sessionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "List, describe, keep and close sessions",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageError("say what to do with sessions: list, info, keepalive or close")
		},
	}
	var asJSON bool
	list := &cobra.Command{
		Use:   "list",
		Short: "List the sessions that have not ended",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withManager(func(m *session.Manager) error {
				sessions, err := m.List(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(a.stdout, sessions)
				}
				return printSessions(a.stdout, sessions)
			})
		},
	}
	info := &cobra.Command{
		Use:   "info SESSION",
		Short: "Say what a session is and how it is",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.withManager(func(m *session.Manager) error {
				info, err := sessionInfo(cmd.Context(), m, names[0])
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(a.stdout, info)
				}
				return printInfo(a.stdout, info)
			})
		},
	}
	keepalive := &cobra.Command{
		Use:   "keepalive SESSION DURATION",
		Short: "Keep a session, and set how long it may be idle from now on",
		Long: `Keep a session, also one that would have ended with whoever opened it, and set how long it
may be idle from now on: seconds, or a duration such as 90m or 24h. It is renewed by
itself whenever something runs in the session.`,
		Args: args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, words []string) error {
			lease, err := parseDuration(words[1])
			if err != nil {
				return usageError("DURATION %q: %w", words[1], err)
			}
			return a.withManager(func(m *session.Manager) error { return a.keepAlive(cmd.Context(), m, words[0], lease, asJSON) })
		},
	}
	var all bool
	closing := &cobra.Command{
		Use:   "close SESSION...",
		Short: "End sessions with all that runs in them",
		RunE: func(cmd *cobra.Command, names []string) error {
			if all == (len(names) > 0) {
				return usageError("name the sessions to close, or give --all")
			}
			return a.withManager(func(m *session.Manager) error {
				return a.closeSessions(cmd.Context(), m, names, all, asJSON)
			})
		},
	}
	closing.Flags().BoolVar(&all, "all", false, "close all sessions")
	for _, c := range []*cobra.Command{list, info, keepalive, closing} {
		c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
		cmd.AddCommand(c)
	}
	return cmd
}

// sessionInfo says what a session is; of one whose agent is dead what is known.
func sessionInfo(ctx context.Context, m *session.Manager, name string) (*session.Info, error) {
	s, err := m.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	info, err := s.Info(ctx)
	if info == nil {
		return nil, fmt.Errorf("session %s: its agent does not answer: %w", name, err)
	}
	return info, nil
}

func (a *app) keepAlive(ctx context.Context, m *session.Manager, name string, lease time.Duration, asJSON bool) error {
	until, err := m.KeepAlive(ctx, name, lease)
	if err != nil {
		return err
	}
	if asJSON {
		info, err := sessionInfo(ctx, m, name)
		if err != nil {
			return err
		}
		return writeJSON(a.stdout, info)
	}
	_, err = fmt.Fprintf(a.stdout, "%s is kept until %s if nothing runs in it\n", name, until.Local().Format(time.DateTime))
	return err
}

// closeSessions closes sessions by id or name, or all of them. In JSON it says
// how they were last: an object for a session that was named alone, else a list.
func (a *app) closeSessions(ctx context.Context, m *session.Manager, names []string, all, asJSON bool) error {
	if all {
		sessions, err := m.List(ctx)
		if err != nil {
			return err
		}
		for _, s := range sessions {
			names = append(names, s.ID)
		}
	}
	var errs []error
	closed := []*session.Info{}
	for _, name := range names {
		last, err := closeSession(ctx, m, name, asJSON)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		closed = append(closed, last)
		if asJSON {
			continue
		}
		if _, err := fmt.Fprintf(a.stdout, "closed %s\n", name); err != nil {
			return err
		}
	}
	switch {
	case !asJSON:
	case all || len(names) > 1:
		errs = append(errs, writeJSON(a.stdout, closed))
	case len(closed) == 1:
		errs = append(errs, writeJSON(a.stdout, closed[0]))
	}
	return errors.Join(errs...)
}

// closeSession closes a session and, if asked to, says how it was until then.
func closeSession(ctx context.Context, m *session.Manager, name string, ask bool) (*session.Info, error) {
	if !ask {
		return nil, m.Close(ctx, name)
	}
	info, err := sessionInfo(ctx, m, name)
	if errors.Is(err, session.ErrNotFound) || errors.Is(err, session.ErrExpired) {
		return nil, err
	}
	if info == nil { // it does not answer, and is closed all the same
		s, err := m.Get(ctx, name)
		if err != nil {
			return nil, err
		}
		info = &session.Info{ID: s.ID(), Name: s.Name()}
	}
	info.State, info.Expires = wire.StateClosed, time.Time{}
	return info, m.Close(ctx, name)
}

// withManager calls f with this user's sessions.
func (a *app) withManager(f func(*session.Manager) error) error {
	log, err := a.logger()
	if err != nil {
		return err
	}
	m, err := a.manager(log)
	if err != nil {
		return err
	}
	return errors.Join(f(m), m.Release())
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func printSessions(out io.Writer, sessions []session.Info) error {
	if len(sessions) == 0 {
		_, err := fmt.Fprintln(out, "no sessions")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SESSION\tNAME\tSTATE\tLANGUAGES\tKEPT\tATTACHED\tRUNS\tCPU\tMEMORY\tEXPIRES\tDIRECTORY")
	for _, s := range sessions {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%.1fs\t%s\t%s\t%s\n", s.ID, orDash(s.Name), s.State, strings.Join(s.Languages, ","),
			yesNo(s.Kept), yesNo(s.Attached), s.Runs, s.CPU, size(s.Memory), expiry(s.Expires), printable(s.Cwd))
	}
	return w.Flush()
}

func printInfo(out io.Writer, i *session.Info) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"session", i.ID}, {"name", orDash(i.Name)}, {"state", string(i.State)}, {"failure", printable(i.Failure)},
		{"languages", strings.Join(i.Languages, ", ")}, {"isolation", i.Isolation}, {"kept", yesNo(i.Kept)}, {"kernel attached", yesNo(i.Attached)},
		{"runs attached", fmt.Sprint(i.AttachedRuns)}, {"requests waiting", fmt.Sprint(i.Queued)}, {"runs and cells executed", fmt.Sprint(i.Runs)},
		{"created", date(i.Created)}, {"last used", date(i.LastUsed)}, {"expires", expiry(i.Expires)},
		{"directory", printable(i.Cwd)}, {"packages", strings.Join(i.Packages, ", ")}, {"memory", size(i.Memory)},
		{"processor time", fmt.Sprintf("%.1f s", i.CPU)}, {"journal", size(uint64(max(0, i.Journal)))},
		{"agent process", number(i.AgentPID)}, {"language process", number(i.PID)}, {"agents so far", number(int(i.Epoch))},
	} {
		if row[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
		}
	}
	return w.Flush()
}

func date(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}

// number returns n, or a dash for 0, which is no process.
func number(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func expiry(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return "in " + time.Until(t).Round(time.Second).String()
}

// size returns n bytes in a form for people.
func size(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, suffix := float64(n)/unit, "KiB"
	for _, s := range []string{"MiB", "GiB", "TiB"} {
		if value < unit {
			break
		}
		value, suffix = value/unit, s
	}
	return fmt.Sprintf("%.1f %s", value, suffix)
}

// printable returns text without what would move the cursor or change colours.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, text)
}
