package monitor

import (
	"net/http"

	"oneflow/access"
)

// problem answers with an error for programs.
func (*Monitor) problem(w http.ResponseWriter, _ *http.Request, status int, detail string) {
	access.Problem(w, status, detail, nil)
}
