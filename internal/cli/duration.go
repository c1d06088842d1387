package cli

import (
	"errors"
	"math"
	"strconv"
	"time"
)

// errDuration says what a duration on the command line looks like.
var errDuration = errors.New("give seconds, or a duration such as 90s, 10m or 24h, more than 0")

// parseDuration reads seconds or a duration, more than 0.
func parseDuration(s string) (time.Duration, error) {
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		d := n * float64(time.Second)
		if d >= 1 && d < math.MaxInt64 {
			return time.Duration(d), nil
		}
		return 0, errDuration
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return d, nil
	}
	return 0, errDuration
}
