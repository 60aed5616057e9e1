package monitor

import (
	"encoding/json"
	"net/http"
)

// problemDetails is an error as RFC 9457 has it.
type problemDetails struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// problem answers with an error for programs.
func (m *Monitor) problem(w http.ResponseWriter, r *http.Request, status int, detail string) {
	data, err := json.Marshal(problemDetails{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail})
	if err != nil {
		m.cfg.Log.Error().Err(err).Str("path", r.URL.Path).Msg("answer not encoded")
		data = []byte(`{}`)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n'))
}
