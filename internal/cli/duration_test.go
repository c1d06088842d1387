package cli

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"90": 90 * time.Second, "0.5": 500 * time.Millisecond, "10m": 10 * time.Minute, "1h30m": 90 * time.Minute, "1e3": 1000 * time.Second,
	} {
		if got, err := parseDuration(s); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", s, got, err, want)
		}
	}
}

func TestParseDurationRefuses(t *testing.T) {
	for _, s := range []string{"", "soon", "0", "0s", "-1", "-5s", "inf", "nan", "1e300", "1 hour", "300000h0x"} {
		if got, err := parseDuration(s); err == nil {
			t.Errorf("%q: got %v, want an error", s, got)
		}
	}
}
