package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestEveryRequestHasASchema(t *testing.T) {
	all, err := rules()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := compiled(); err != nil {
		t.Fatal(err)
	}
	for msgType := range contents {
		inbound := strings.HasSuffix(msgType, "_request") && msgType != "input_request" ||
			strings.HasPrefix(msgType, "comm_") && !strings.HasSuffix(msgType, "_reply") || msgType == "input_reply"
		if _, ok := all[msgType]; ok != inbound {
			t.Errorf("schema of %s is there: %t, want %t", msgType, ok, inbound)
		}
	}
	for msgType := range all {
		if _, ok := contents[msgType]; !ok {
			t.Errorf("schema of %s, which is no message type", msgType)
		}
	}
}

// TestSchemasUseOnlyWhatRulesKnow keeps the quick check and the schemas equal.
func TestSchemasUseOnlyWhatRulesKnow(t *testing.T) {
	all, err := rules()
	if err != nil {
		t.Fatal(err)
	}
	known := []string{"$schema", "title", "description", "type", "required", "properties", "additionalProperties", "enum", "minimum"}
	var check func(msgType string, schema map[string]any, nested bool)
	check = func(msgType string, schema map[string]any, nested bool) {
		for keyword, v := range schema {
			if !slices.Contains(known, keyword) {
				t.Errorf("%s: keyword %s is not known to rules", msgType, keyword)
			}
			switch keyword {
			case "minimum":
				if v != 0.0 {
					t.Errorf("%s: minimum %v, rules know only 0", msgType, v)
				}
			case "required":
				if nested {
					t.Errorf("%s: required in a nested object, errors would not name its fields", msgType)
				}
			case "properties":
				for _, p := range v.(map[string]any) {
					check(msgType, p.(map[string]any), true)
				}
			case "additionalProperties":
				check(msgType, v.(map[string]any), true)
			}
		}
		if schema["enum"] != nil && schema["type"] != "string" {
			t.Errorf("%s: an enum that is not of strings", msgType)
		}
	}
	for msgType := range all {
		text, err := schemas.ReadFile(schemaPath(msgType))
		if err != nil {
			t.Fatal(err)
		}
		var schema map[string]any
		if err := json.Unmarshal(text, &schema); err != nil {
			t.Fatal(err)
		}
		if schema["type"] != "object" || schema["title"] != msgType {
			t.Errorf("%s: type %v and title %v, want object and its name", msgType, schema["type"], schema["title"])
		}
		check(msgType, schema, false)
	}
}

func request(msgType, content string) *Message {
	return &Message{Channel: Shell, Header: Header{MsgType: msgType}, Content: []byte(content)}
}

func TestValidateRefuses(t *testing.T) {
	tests := []struct{ msgType, content, want string }{
		{"execute_request", `{"code":12}`, "execute_request content: code: expected string, but got number"},
		{"execute_request", `{}`, "execute_request content: code: missing"},
		{"execute_request", ``, "execute_request content: code: missing"},
		{"execute_request", `null`, "execute_request content: code: missing"},
		{"execute_request", `{"code":null}`, "execute_request content: code: expected string, but got null"},
		{"execute_request", `{"code":"","silent":"no"}`, "execute_request content: silent: expected boolean or null, but got string"},
		{"execute_request", `{"code":"","user_expressions":[]}`, "execute_request content: user_expressions: expected object or null, but got array"},
		{"execute_request", `{"code":"","user_expressions":{"a/b~c d":1}}`, "execute_request content: user_expressions.a/b~c d: expected string, but got number"},
		{"execute_request", `{"silent":1,"code":2}`, "execute_request content: code: expected string, but got number"},
		{"execute_request", `{"c\u006fde":true}`, "execute_request content: code: expected string, but got boolean"},
		{"execute_request", `[]`, "execute_request content: invalid JSON at byte 0: expected an object"},
		{"execute_request", `{"code":"a"`, "execute_request content: unexpected end of JSON"},
		{"execute_request", `{"code":NaN}`, "execute_request content: invalid JSON at byte 8: expected a value"},
		{"complete_request", `{"code":"a","code":"a"}`, "complete_request content: cursor_pos: missing"},
		{"complete_request", `{"code":"a","cursor_pos":-1}`, "complete_request content: cursor_pos: must be >= 0 but found -1"},
		{"complete_request", `{"code":"a","cursor_pos":1.5}`, "complete_request content: cursor_pos: expected integer, but got number"},
		{"inspect_request", `{"cursor_pos":0}`, "inspect_request content: code: missing"},
		{"history_request", `{"hist_access_type":"all"}`, `history_request content: hist_access_type: value must be one of "range", "tail", "search"`},
		{"history_request", `{"hist_access_type":"tail","n":"5"}`, "history_request content: n: expected integer or null, but got string"},
		{"is_complete_request", `{"code":[]}`, "is_complete_request content: code: expected string, but got array"},
		{"comm_open", `{"comm_id":"1","data":{}}`, "comm_open content: target_name: missing"},
		{"comm_msg", `{"comm_id":1}`, "comm_msg content: comm_id: expected string, but got number"},
		{"comm_close", `{}`, "comm_close content: comm_id: missing"},
		{"shutdown_request", `{"restart":"yes"}`, "shutdown_request content: restart: expected boolean or null, but got string"},
		{"input_reply", `{"value":1}`, "input_reply content: value: expected string, but got number"},
		{"debug_request", `{"seq":1}`, "debug_request content: command: missing"},
		{"delete_subshell_request", `{}`, "delete_subshell_request content: subshell_id: missing"},
		{"future_request", `"x"`, "future_request content: invalid JSON at byte 0: expected an object"},
		{"future_request", `{"a":}`, "future_request content: invalid JSON at byte 5: expected a value"},
	}
	for _, tt := range tests {
		err := Validate(request(tt.msgType, tt.content))
		var invalid *InvalidError
		if !errors.As(err, &invalid) || err.Error() != tt.want {
			t.Errorf("Validate(%s %s):\n got %v\nwant %s", tt.msgType, tt.content, err, tt.want)
		}
	}
}

func TestValidatePasses(t *testing.T) {
	tests := []struct{ msgType, content string }{
		{"execute_request", `{"code":""}`},
		{"execute_request", ` {"code":"\ud83c","silent":null,"store_history":true,"user_expressions":{"a":"b"},"future":[1.5,{}]} `},
		{"complete_request", `{"code":"a","cursor_pos":1}`},
		{"complete_request", `{"code":"a","cursor_pos":-0}`},
		{"history_request", `{"hist_access_type":"range","session":-1,"start":0,"stop":null,"n":null,"pattern":null,"unique":false}`},
		{"history_request", `{"hist_access_type":"t\u0061il"}`},
		{"comm_msg", `{"comm_id":"1","data":"text"}`},
		{"kernel_info_request", ``},
		{"kernel_info_request", `null`},
		{"debug_request", `{"seq":1,"type":"request","command":"attach","arguments":null}`},
		{"future_request", `{"a":1}`},
		{"future_request", ``},
	}
	for _, tt := range tests {
		m := request(tt.msgType, tt.content)
		if err := Validate(m); err != nil {
			t.Errorf("Validate(%s %s) = %v, want nil", tt.msgType, tt.content, err)
		}
		if _, err := m.Decode(); err != nil {
			t.Errorf("Decode of the valid %s %s: %v", tt.msgType, tt.content, err)
		}
	}
}

// TestRulesAgreeWithSchemas tries made-up contents: what the quick check is sure
// of satisfies the schema, and what satisfies the schema can be decoded.
func TestRulesAgreeWithSchemas(t *testing.T) {
	values := []string{`null`, `true`, `0`, `7`, `-1`, `1.5`, `""`, `"tail"`, `[]`, `{}`, `{"a":"b"}`, `{"a":1}`}
	schemas, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	all, err := rules()
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for msgType, r := range all {
		sures := 0
		for range 2000 {
			var content bytes.Buffer
			content.WriteByte('{')
			for name := range r.Properties {
				often := 1
				if slices.Contains(r.Required, name) {
					often = 8
				}
				if random.IntN(10) >= often {
					continue
				}
				if content.Len() > 1 {
					content.WriteByte(',')
				}
				fmt.Fprintf(&content, "%q:%s", name, values[random.IntN(len(values))])
			}
			content.WriteByte('}')
			sure, err := r.check(content.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			var tree any
			if err := json.Unmarshal(content.Bytes(), &tree); err != nil {
				t.Fatal(err)
			}
			schemaErr := schemas[msgType].Validate(tree)
			if sure != (schemaErr == nil) {
				t.Fatalf("%s %s: the quick check is sure: %t; the schema: %v", msgType, &content, sure, schemaErr)
			}
			if sure {
				sures++
				if _, err := DecodeContent(msgType, content.Bytes()); err != nil {
					t.Fatalf("the valid %s %s is not decoded: %v", msgType, &content, err)
				}
			}
		}
		if sures == 0 {
			t.Errorf("%s: no valid content was tried", msgType)
		}
	}
}

func TestDecodeNamesTheField(t *testing.T) {
	tests := []struct{ msgType, content, want string }{
		{"complete_request", `{"code":"a","cursor_pos":5.0}`, "complete_request content: cursor_pos: expected integer, but got number 5.0"},
		{"complete_request", `{"code":1}`, "complete_request content: code: expected string, but got number"},
		{"execute_request", `{"code":1}`, "execute_request content: code: expected string, but got number"},
		{"execute_request", `{"silent":1}`, "execute_request content: silent: expected boolean, but got number"},
		{"display_data", `{"data":[]}`, "display_data content: data: expected object, but got array"},
	}
	for _, tt := range tests {
		c, err := DecodeContent(tt.msgType, []byte(tt.content))
		if err == nil || err.Error() != tt.want {
			t.Errorf("DecodeContent(%s %s) = %v, %v, want error %s", tt.msgType, tt.content, c, err, tt.want)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	small := `{"code":"print(1)\n","silent":false,"store_history":true,"user_expressions":{},"allow_stdin":true,"stop_on_error":true}`
	big := `{"code":"` + strings.Repeat(`x = 1\n`, 1<<22) + `"}`
	for name, content := range map[string]string{"small": small, "big": big} {
		m := request("execute_request", content)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(content)))
			b.ReportAllocs()
			for b.Loop() {
				if err := Validate(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompileSchemas(b *testing.B) {
	for b.Loop() {
		if _, err := compileSchemas(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadRules(b *testing.B) {
	for b.Loop() {
		if _, err := readRules(); err != nil {
			b.Fatal(err)
		}
	}
}
