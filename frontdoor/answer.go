package frontdoor

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
)

// vendorError is an error in OpenAI's form.
type vendorError struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

// refuse answers with an error in OpenAI's form.
func refuse(w http.ResponseWriter, _ *http.Request, status int, message string) {
	fail(w, status, "", "", message)
}

// Refuse answers a request that no route is for, in the form of the vendor whose path it is.
func Refuse(w http.ResponseWriter, r *http.Request, status int, message string) {
	if strings.HasPrefix(r.URL.Path, messagesPath) {
		refuseAnthropic(w, r, status, message)
		return
	}
	refuse(w, r, status, message)
}

// fail answers with an error in OpenAI's form. code and param may be empty.
func fail(w http.ResponseWriter, status int, code, param, message string) {
	answer(w, status, map[string]vendorError{"error": errorOf(status, code, param, message)})
}

func errorOf(status int, code, param, message string) vendorError {
	e := vendorError{Message: message, Type: "invalid_request_error"}
	switch {
	case status == http.StatusTooManyRequests:
		e.Type, code = "rate_limit_error", orElse(code, "rate_limit_exceeded")
	case status == http.StatusUnauthorized:
		code = orElse(code, "invalid_api_key")
	case status == http.StatusForbidden:
		e.Type = "permission_error"
	case status >= http.StatusInternalServerError:
		e.Type = "server_error"
	}
	if code != "" {
		e.Code = &code
	}
	if param != "" {
		e.Param = &param
	}
	return e
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// refuseAnthropic answers with an error in Anthropic's form.
func refuseAnthropic(w http.ResponseWriter, _ *http.Request, status int, message string) {
	answer(w, status, anthropicErrorOf(status, message))
}

type anthropicError struct {
	Type  string `json:"type"`
	Error struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	} `json:"error"`
}

func anthropicErrorOf(status int, message string) anthropicError {
	e := anthropicError{Type: "error"}
	e.Error.Message = message
	switch status {
	case http.StatusUnauthorized:
		e.Error.Type = "authentication_error"
	case http.StatusForbidden:
		e.Error.Type = "permission_error"
	case http.StatusNotFound:
		e.Error.Type = "not_found_error"
	case http.StatusRequestEntityTooLarge:
		e.Error.Type = "request_too_large"
	case http.StatusTooManyRequests:
		e.Error.Type = "rate_limit_error"
	default:
		e.Error.Type = "invalid_request_error"
		if status >= http.StatusInternalServerError {
			e.Error.Type = "api_error"
		}
	}
	return e
}

// answer writes JSON. Text is not escaped for HTML: it is none, and nosniff says so.
func answer(w http.ResponseWriter, status int, v any) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		status = http.StatusInternalServerError
		b.Reset()
		b.WriteString(`{"error":{"message":"the answer cannot be encoded","type":"server_error","param":null,"code":null}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(b.String()))
}

// answerOr answers with v, or with the error.
func answerOr(f *FrontDoor, w http.ResponseWriter, r *http.Request, err error, v any) {
	if err != nil {
		f.broken(w, r, err)
		return
	}
	answer(w, http.StatusOK, v)
}

// broken answers with an error, and logs what the client cannot help.
func (f *FrontDoor) broken(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, ErrNoFile):
		fail(w, http.StatusNotFound, "", "id", "No such File object")
	case errors.Is(err, ErrNoBatch):
		fail(w, http.StatusNotFound, "", "id", "No batch found with this id")
	case r.Context().Err() != nil: // nobody reads it
	default:
		f.cfg.Log.Warn().Err(err).Str("path", r.URL.Path).Msg("request of a program failed")
		fail(w, http.StatusServiceUnavailable, "", "", "the database or the storage does not answer")
	}
}
