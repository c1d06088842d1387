package proc

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTree(t *testing.T) {
	all := []Info{
		{PID: 10, PPID: 1}, {PID: 12, PPID: 11}, {PID: 11, PPID: 10}, {PID: 13, PPID: 1}, {PID: 14, PPID: 12}, {PID: 15, PPID: 13},
		{PID: 20, PPID: 21}, {PID: 21, PPID: 20}, // a torn list can have a circle
	}
	for want, roots := range map[string][]int{
		"[]":            nil,
		"[10 12 11 14]": {10},
		"[12 13 14 15]": {12, 13},
		"[20 21]":       {21},
	} {
		var got []int
		for _, p := range Tree(all, func(p Info) bool {
			for _, root := range roots {
				if p.PID == root {
					return true
				}
			}
			return false
		}) {
			got = append(got, p.PID)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("tree below %v: got %v, want %s", roots, got, want)
		}
	}
	if diff := cmp.Diff(Ancestors(all, 14), map[int]bool{14: true, 12: true, 11: true, 10: true, 1: true}); diff != "" {
		t.Errorf("ancestors (-got +want):\n%s", diff)
	}
	if got := len(Ancestors(all, 20)); got != 2 {
		t.Errorf("ancestors in a circle: got %d, want 2", got)
	}
}

func TestHasGaps(t *testing.T) {
	whole := []Info{{PID: 1}, {PID: 2, PPID: 1}, {PID: 3, PPID: 2}}
	if hasGaps(whole) {
		t.Error("a whole list: got gaps")
	}
	if !hasGaps([]Info{whole[0], whole[2]}) {
		t.Error("a list without a parent: got no gaps")
	}
}

func TestCheckIDAndUnmark(t *testing.T) {
	for id, want := range map[string]bool{"abc-1": true, "": false, "a/b": false, "a\nb": false, "a\x00": false} {
		if err := CheckID(id); (err == nil) != want {
			t.Errorf("id %q: got %v, want valid %v", id, err, want)
		}
	}
	got := Unmark([]string{"A=1", Marker + "=x", CommandMarker + "=2", Marker + "_NOT=3"})
	if diff := cmp.Diff(got, []string{"A=1", Marker + "_NOT=3"}); diff != "" {
		t.Errorf("environment (-got +want):\n%s", diff)
	}
}
