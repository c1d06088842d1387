package session

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/gokernel/gokernel/session/wire"
)

// What is said of a session in JSON has the names that programs rely on, null
// for times that are not, and empty lists.
func TestInfoJSON(t *testing.T) {
	created := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tc := range []struct {
		name string
		info *Info
		want string
	}{
		{"measured", measured(&wire.Info{
			ID: "i", Name: "n", Language: "python", State: wire.StateBusy, Created: created, LastActive: created, Executed: 7, Runs: 2,
			Dir: "/d", Isolation: "process", CPU: 1.5, Memory: 1024, Languages: []string{"python", "javascript"}, Packages: []string{"six==1.0"},
			Kept: true, AgentPID: 5, PID: 6,
		}), `{"session_id":"i","name":"n","state":"busy","languages":["python","javascript"],"created_at":"2030-01-02T03:04:05Z",
			"last_used_at":"2030-01-02T03:04:05Z","expires_at":null,"runs":7,"packages":["six==1.0"],"cwd":"/d","isolation":"process",
			"cpu_seconds":1.5,"memory_bytes":1024}`},
		{"dead", registered(&Row{ID: "i", Language: "python", State: RowLive, Created: created, Dir: "/d", Isolation: "process"}, ErrDead),
			`{"session_id":"i","name":"","state":"dead","languages":["python"],"created_at":"2030-01-02T03:04:05Z","last_used_at":null,
			"expires_at":null,"runs":0,"packages":[],"cwd":"/d","isolation":"process","cpu_seconds":0,"memory_bytes":0}`},
		{"silent", registered(&Row{ID: "i", State: RowLive, Created: created}, nil),
			`{"session_id":"i","name":"","state":"silent","languages":[],"created_at":"2030-01-02T03:04:05Z","last_used_at":null,
			"expires_at":null,"runs":0,"packages":[],"cwd":"","isolation":"","cpu_seconds":0,"memory_bytes":0}`},
	} {
		raw, err := json.Marshal(tc.info)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		var got, want map[string]any
		if err := json.Unmarshal([]byte(tc.want), &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %s (%v), want %s", tc.name, raw, err, tc.want)
		}
		var back Info
		if err := json.Unmarshal(raw, &back); err != nil || back.ID != "i" || !back.Expires.IsZero() || !back.Created.Equal(created) {
			t.Errorf("%s: read back as %+v, %v", tc.name, back, err)
		}
	}
}
