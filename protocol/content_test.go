package protocol

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEveryContentHasItsType(t *testing.T) {
	for msgType, newContent := range contents {
		if got := newContent().MsgType(); got != msgType {
			t.Errorf("constructor of %s makes a %s", msgType, got)
		}
		c, err := DecodeContent(msgType, nil)
		if err != nil {
			t.Errorf("DecodeContent(%s, nil): %v", msgType, err)
			continue
		}
		if got, want := reflect.TypeOf(c), reflect.TypeOf(newContent()); got != want {
			t.Errorf("DecodeContent(%s) = %v, want %v", msgType, got, want)
		}
		name := reflect.TypeOf(c).Elem().Name()
		if msgType != "error" && snake(name) != msgType {
			t.Errorf("type of %s is %s, want the message type in camel case", msgType, name)
		}
	}
}

func snake(name string) string {
	name = strings.Replace(name, "IOPub", "Iopub", 1)
	var b strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

func TestUnknownTypeIsKept(t *testing.T) {
	raw := []byte(`{"b": 1.50, "a":[ ]}`)
	c, err := DecodeContent("future_request", raw)
	if err != nil {
		t.Fatal(err)
	}
	if c.MsgType() != "future_request" {
		t.Errorf("type = %q, want future_request", c.MsgType())
	}
	m, err := New(Shell, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Content) != string(raw) || m.Header.MsgType != "future_request" {
		t.Errorf("encoded again: %s %s, want %s as it came", m.Header.MsgType, m.Content, raw)
	}
}

// TestFullContents fills every field of every content and checks that each one
// is encoded under its tag and decoded again.
func TestFullContents(t *testing.T) {
	for msgType, newContent := range contents {
		t.Run(msgType, func(t *testing.T) {
			want := newContent()
			fill(t, reflect.ValueOf(want).Elem(), 1)
			if r, ok := want.(*ExecuteRequest); ok {
				r.Silent = false // it forbids StoreHistory
			}
			raw, err := EncodeContent(want)
			if err != nil {
				t.Fatal(err)
			}
			if got, wantKeys := keys(t, raw), tags(reflect.TypeOf(want).Elem()); !slices.Equal(got, wantKeys) && wantKeys != nil {
				t.Errorf("fields of %s = %v, want %v", raw, got, wantKeys)
			}
			got, err := DecodeContent(msgType, raw)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, want); diff != "" {
				t.Errorf("decoded from %s (-got +want):\n%s", raw, diff)
			}
			std, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			if !sameJSON(t, std, raw) {
				t.Errorf("json.Marshal = %s, want as EncodeContent: %s", std, raw)
			}
		})
	}
}

// fill sets all that v holds to values that are not zero.
func fill(t *testing.T, v reflect.Value, n int) {
	t.Helper()
	if v.Type() == reflect.TypeFor[json.RawMessage]() {
		v.SetBytes(fmt.Appendf(nil, `{"n":%d}`, n))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("error") // a status that has all fields
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(int64(n))
	case reflect.Uint64:
		v.SetUint(uint64(n))
	case reflect.Float64:
		v.SetFloat(float64(n) + 0.5)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(t, v.Index(0), n)
		fill(t, v.Index(1), n+1)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		e := reflect.New(v.Type().Elem()).Elem()
		fill(t, e, n)
		v.SetMapIndex(reflect.ValueOf("<k>"), e)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), n+i)
		}
	default:
		t.Fatalf("a content holds a %v", v.Type())
	}
}

// tags returns the names of the fields of a content, sorted, and nil for one
// that is raw.
func tags(typ reflect.Type) []string {
	var names []string
	for f := range typ.Fields() {
		if f.Anonymous {
			names = append(names, tags(f.Type)...)
			continue
		}
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func keys(t *testing.T, raw []byte) []string {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	var names []string
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Fatalf("%s: %v", a, err)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return reflect.DeepEqual(x, y)
}

func TestWhatClientsWant(t *testing.T) {
	ok, failed := Reply{Status: StatusOK}, Reply{Status: StatusError, EName: "KeyboardInterrupt"}
	leftOver := Reply{Status: StatusOK, EName: "E", EValue: "v", Traceback: []string{"t"}}
	count := 3
	tests := []struct {
		content Content
		want    string
	}{
		{&ExecuteReply{Reply: ok, ExecutionCount: &count}, `{"status":"ok","execution_count":3,"user_expressions":{},"payload":[]}`},
		{&ExecuteReply{Reply: leftOver}, `{"status":"ok","execution_count":null,"user_expressions":{},"payload":[]}`},
		{&ExecuteReply{Reply: failed}, `{"status":"error","ename":"KeyboardInterrupt","evalue":"","traceback":[],"execution_count":null,"user_expressions":{},"payload":[]}`},
		{&ExecuteReply{Reply: Reply{Status: StatusAborted}, ExecutionCount: &count}, `{"status":"aborted","execution_count":3,"user_expressions":{},"payload":[]}`},
		{&InspectReply{Reply: ok}, `{"status":"ok","found":false,"data":{},"metadata":{}}`},
		{&CompleteReply{Reply: ok}, `{"status":"ok","matches":[],"cursor_start":0,"cursor_end":0,"metadata":{}}`},
		{&HistoryReply{Reply: ok}, `{"status":"ok","history":[]}`},
		{&CommInfoReply{Reply: ok}, `{"status":"ok","comms":{}}`},
		{&KernelInfoReply{Reply: ok}, `{"status":"ok","protocol_version":"","implementation":"","implementation_version":"","language_info":{"name":"","version":"","mimetype":"","file_extension":""},"banner":"","help_links":[],"supported_features":[],"debugger":false}`},
		{&ShutdownReply{Reply: ok}, `{"status":"ok","restart":false}`},
		{&InterruptReply{Reply: failed}, `{"status":"error","ename":"KeyboardInterrupt","evalue":"","traceback":[]}`},
		{&ListSubshellReply{Reply: ok}, `{"status":"ok","subshell_id":[]}`},
		{&DisplayData{}, `{"data":{},"metadata":{}}`},
		{&DisplayData{Transient: &Transient{}}, `{"data":{},"metadata":{},"transient":{}}`},
		{&UpdateDisplayData{}, `{"data":{},"metadata":{},"transient":{}}`},
		{&ExecuteResult{}, `{"execution_count":0,"data":{},"metadata":{}}`},
		{&ErrorOutput{}, `{"ename":"","evalue":"","traceback":[]}`},
		{&CommOpen{CommID: "c", TargetName: "t"}, `{"comm_id":"c","target_name":"t","data":{}}`},
		{&CommMsg{CommID: "c", Data: json.RawMessage("null")}, `{"comm_id":"c","data":{}}`},
		{&CommClose{CommID: "c"}, `{"comm_id":"c","data":{}}`},
		{&DisplayData{Data: MimeBundle{"text/html": json.RawMessage(`"<b>"`), "application/json": nil}}, `{"data":{"application/json":null,"text/html":"<b>"},"metadata":{}}`},
	}
	for _, tt := range tests {
		got, err := EncodeContent(tt.content)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != tt.want {
			t.Errorf("%s content:\n got %s\nwant %s", tt.content.MsgType(), got, tt.want)
		}
	}
}

func TestEncodeContentRefusesWhatIsNotJSON(t *testing.T) {
	for _, c := range []Content{
		&DisplayData{Data: MimeBundle{"text/plain": json.RawMessage("NaN")}},
		&HistoryReply{History: []json.RawMessage{json.RawMessage("[")}},
		&CommMsg{Data: json.RawMessage("{} {}")},
	} {
		if raw, err := EncodeContent(c); err == nil || !strings.Contains(err.Error(), c.MsgType()) {
			t.Errorf("EncodeContent = %s, %v, want an error that names %s", raw, err, c.MsgType())
		}
	}
}

func TestExecuteRequestDefaults(t *testing.T) {
	tests := []struct {
		raw  string
		want ExecuteRequest
	}{
		{`{}`, ExecuteRequest{StoreHistory: true, StopOnError: true}},
		{`{"code":"x","silent":true}`, ExecuteRequest{Code: "x", Silent: true, StopOnError: true}},
		{`{"silent":true,"store_history":true}`, ExecuteRequest{Silent: true, StopOnError: true}},
		{`{"store_history":false,"stop_on_error":false,"allow_stdin":true}`, ExecuteRequest{AllowStdin: true}},
		{`{"store_history":null,"stop_on_error":null,"user_expressions":null}`, ExecuteRequest{StoreHistory: true, StopOnError: true}},
		{`{"user_expressions":{"a":"b\n"},"future":[1]}`, ExecuteRequest{StoreHistory: true, StopOnError: true, UserExpressions: map[string]string{"a": "b\n"}}},
	}
	for _, tt := range tests {
		c, err := DecodeContent("execute_request", []byte(tt.raw))
		if err != nil {
			t.Errorf("%s: %v", tt.raw, err)
			continue
		}
		if diff := cmp.Diff(c, Content(&tt.want)); diff != "" {
			t.Errorf("%s (-got +want):\n%s", tt.raw, diff)
		}
		var std ExecuteRequest
		if err := json.Unmarshal([]byte(tt.raw), &std); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(std, tt.want); diff != "" {
			t.Errorf("json.Unmarshal of %s (-got +want):\n%s", tt.raw, diff)
		}
	}
}

func BenchmarkEncodeContent(b *testing.B) {
	count := 7
	for name, c := range map[string]Content{
		"status":        &Status{StateBusy},
		"execute_reply": &ExecuteReply{Reply: Reply{Status: StatusOK}, ExecutionCount: &count},
		"png": &DisplayData{Data: MimeBundle{
			"text/plain": json.RawMessage(`"<Figure>"`), "image/png": json.RawMessage(`"` + strings.Repeat("iVBORw0K", 1<<17) + `"`),
		}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := EncodeContent(c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecodeExecuteRequest(b *testing.B) {
	small := []byte(`{"code":"print(1)\n","silent":false,"store_history":true,"user_expressions":{},"allow_stdin":true,"stop_on_error":true}`)
	big := []byte(`{"code":` + string(AppendJSONString(nil, []byte(strings.Repeat("x = 1\n", 1<<18)))) + `}`)
	for name, raw := range map[string][]byte{"small": small, "big": big} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if _, err := DecodeContent("execute_request", raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
