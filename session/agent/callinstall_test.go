//go:build unix

package agent

import (
	"strings"
	"testing"

	"github.com/gokernel/gokernel/session/agent/install/installtest"
	"github.com/gokernel/gokernel/session/wire"
)

// A cell may install packages while its code runs, with its stages shown.
func TestPackagesMagicShowsItsStages(t *testing.T) {
	x := installtest.NewIndex(t, installtest.Wheel{Name: "gk-magic", Version: "1.0"})
	_, k := holdPython(t, x)
	k.execute("r1", "%packages gk-magic", "import gk_magic", "print('imported')")
	k.until("r1 status idle")
	if got := k.text("r1", "stdout"); got != "Installed gk-magic 1.0.\nimported\n" {
		t.Errorf("got %q, %v, want it installed and imported", got, k.log)
	}
	if n := len(k.reports); n < 2 || k.reports[0].MsgType != wire.MsgProgressFirst || !strings.Contains(string(k.reports[n-1].Content), "Installed 1 package in") {
		t.Errorf("got %d reports, want the stages shown and one line at the end", n)
	}
	checkTiming(t, &k.result("r1 execute_reply ok").Timing, wire.StageInstalling, wire.StageExecuting)
	shown := len(k.reports)
	k.execute("r2", "%packages gk-magic")
	k.until("r2 status idle")
	if got := k.text("r2", "stdout"); !strings.Contains(got, "there already") || len(k.reports) != shown {
		t.Errorf("got %q and %d more reports, want that it is there and nothing shown", got, len(k.reports)-shown)
	}
}
