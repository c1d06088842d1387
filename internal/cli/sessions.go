package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gokernel/gokernel/session"
)

func (a *app) sessionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "List, describe and close sessions",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageError("say what to do with sessions: list, info or close")
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
				s, err := m.Get(cmd.Context(), names[0])
				if err != nil {
					return err
				}
				info, err := s.Info(cmd.Context())
				if err != nil {
					return fmt.Errorf("session %s: its agent does not answer: %w", names[0], err)
				}
				if asJSON {
					return writeJSON(a.stdout, info)
				}
				return printInfo(a.stdout, info)
			})
		},
	}
	for _, c := range []*cobra.Command{list, info} {
		c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	}
	var all bool
	closing := &cobra.Command{
		Use:   "close SESSION...",
		Short: "End sessions with all that runs in them",
		RunE: func(cmd *cobra.Command, names []string) error {
			if all == (len(names) > 0) {
				return usageError("name the sessions to close, or give --all")
			}
			return a.withManager(func(m *session.Manager) error { return a.closeSessions(cmd, m, names, all) })
		},
	}
	closing.Flags().BoolVar(&all, "all", false, "close all sessions")
	cmd.AddCommand(list, info, closing)
	return cmd
}

func (a *app) closeSessions(cmd *cobra.Command, m *session.Manager, names []string, all bool) error {
	if all {
		sessions, err := m.List(cmd.Context())
		if err != nil {
			return err
		}
		for _, s := range sessions {
			names = append(names, s.ID)
		}
	}
	var errs []error
	for _, name := range names {
		s, err := m.Get(cmd.Context(), name)
		if err == nil {
			err = s.Close(cmd.Context())
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if _, err := fmt.Fprintf(a.stdout, "closed %s\n", name); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
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
	fmt.Fprintln(w, "SESSION\tNAME\tSTATE\tLANGUAGE\tKEPT\tATTACHED\tMEMORY\tEXPIRES\tDIRECTORY")
	for _, s := range sessions {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.ID, orDash(s.Name), s.State, s.Language(),
			yesNo(s.Kept), yesNo(s.Attached), size(s.Memory), expiry(s.Expires), s.Cwd)
	}
	return w.Flush()
}

func printInfo(out io.Writer, i *session.Info) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"session", i.ID}, {"name", orDash(i.Name)}, {"state", string(i.State)}, {"failure", i.Failure},
		{"languages", strings.Join(i.Languages, ", ")}, {"isolation", i.Isolation}, {"kept", yesNo(i.Kept)}, {"kernel attached", yesNo(i.Attached)},
		{"runs attached", fmt.Sprint(i.AttachedRuns)}, {"requests waiting", fmt.Sprint(i.Queued)}, {"runs and cells executed", fmt.Sprint(i.Runs)},
		{"created", i.Created.Local().Format(time.DateTime)}, {"last used", i.LastUsed.Local().Format(time.DateTime)},
		{"expires", expiry(i.Expires)}, {"directory", i.Cwd}, {"memory", size(i.Memory)},
		{"processor time", fmt.Sprintf("%.1f s", i.CPU)}, {"journal", size(uint64(max(0, i.Journal)))},
		{"agent process", fmt.Sprint(i.AgentPID)}, {"language process", fmt.Sprint(i.PID)}, {"agents so far", fmt.Sprint(i.Epoch)},
	} {
		if row[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
		}
	}
	return w.Flush()
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
