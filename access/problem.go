package access

import (
	"encoding/json"
	"maps"
	"net/http"
)

// Problem answers with an error as RFC 9457 has it. more are members beside its own, such
// as the faults of a body.
func Problem(w http.ResponseWriter, status int, detail string, more map[string]any) {
	members := map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status}
	if detail != "" {
		members["detail"] = detail
	}
	maps.Copy(members, more)
	data, err := json.Marshal(members)
	if err != nil {
		data = []byte(`{"type":"about:blank"}`)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n'))
}
