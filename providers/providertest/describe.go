package providertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
)

// Description is a vendor's own description of its API, in OpenAPI.
type Description struct {
	// The validator is not said to be safe for concurrent use.
	mu        sync.Mutex
	validator validator.Validator
}

// Describe reads the description in a file of the folder shared/specs beside the
// module. The descriptions are the vendors' and not in this repository: where the
// folder is not there, the test is skipped.
func Describe(t *testing.T, file string) *Description {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "..", "shared", "specs", file)) //nolint:gosec // a file of the tests' own
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("SKIPPED: requests are not held against the vendor's API: ../shared/specs/%s is not there", file)
	}
	if err != nil {
		t.Fatal(err)
	}
	document, err := libopenapi.NewDocument(matchable(text))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	v, errs := validator.NewValidator(document, config.WithFormatAssertions())
	if len(errs) > 0 {
		t.Fatalf("%s: %v", file, errs)
	}
	return &Description{validator: v}
}

// matchable is a description whose paths the validator can match. It knows none that
// end in {name}:method, as Google's do: there, and in requests, that is
// {name}/method. And Google's patterns are for names with their collection before
// them, which is a part of the path.
func matchable(text []byte) []byte {
	text = regexp.MustCompile(`"(/[^"]*)\}:([a-zA-Z]+)"`).ReplaceAll(text, []byte(`"$1}/$2"`))
	text = bytes.ReplaceAll(text, []byte(`"multipart/form-data":`), []byte(`"`+formAsJSON+`":`))
	return regexp.MustCompile(`"\^[a-z]+/\[\^/\]\+\$"`).ReplaceAll(text, []byte(`"^[^/]+$$"`))
}

// formAsJSON is the media type of a form that is written as JSON: the validator looks into
// no other.
const formAsJSON = "application/form+json"

// formFields is a form as JSON: what is a number as one, a file as its name, and what has
// brackets as a list.
func formFields(body []byte, boundary string) ([]byte, error) {
	form, err := multipart.NewReader(bytes.NewReader(body), boundary).ReadForm(32 << 20)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{}
	for name, values := range form.Value {
		if list, ok := strings.CutSuffix(name, "[]"); ok {
			fields[list] = values
			continue
		}
		fields[name] = values[0]
		if n, err := strconv.ParseFloat(values[0], 64); err == nil {
			fields[name] = n
		}
	}
	for name, files := range form.File {
		fields[name] = files[0].Filename
	}
	return json.Marshal(fields)
}

func methodInRequest() *regexp.Regexp { return regexp.MustCompile(`:([a-zA-Z]+)$`) }

// moduleRoot is the folder of go.mod, at or above the working directory.
func moduleRoot() (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder, nil
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return "", errors.New("no go.mod at or above the working directory")
		}
		folder = parent
	}
}

// Check fails unless the description allows a request: its address, its headers
// and its body.
func (d *Description) Check(r Recorded) error {
	req, err := r.request()
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	ok, problems := d.validator.ValidateHttpRequestSync(req)
	var all []error
	for _, p := range problems {
		all = append(all, fmt.Errorf("%s: %s", p.Message, p.Reason))
		for _, detail := range p.SchemaValidationErrors {
			all = append(all, fmt.Errorf("%s: %s", detail.FieldPath, detail.Reason))
		}
	}
	if !ok && len(all) == 0 {
		return errors.New("refused without a reason")
	}
	return errors.Join(all...)
}

// Recorded is a request as a server received it.
type Recorded struct {
	Method string
	// URL is the path with the query.
	URL    string
	Header http.Header
	Body   []byte
}

// request makes an HTTP request of it again.
func (r Recorded) request() (*http.Request, error) {
	url := methodInRequest().ReplaceAllString(r.URL, "/$1")
	header, body := r.Header.Clone(), r.Body
	if kind, params, err := mime.ParseMediaType(header.Get("Content-Type")); err == nil && kind == "multipart/form-data" {
		if body, err = formFields(body, params["boundary"]); err != nil {
			return nil, err
		}
		header.Set("Content-Type", formAsJSON)
	}
	req, err := http.NewRequest(r.Method, "http://127.0.0.1"+url, bytes.NewReader(body)) //nolint:noctx // never sent
	if err != nil {
		return nil, err
	}
	req.Header = header
	return req, nil
}

// Recorder is a server that keeps the requests that it receives.
type Recorder struct {
	// URL is its address.
	URL string
	// Close stops it, before the test's end does.
	Close func()

	answer   http.HandlerFunc
	mu       sync.Mutex
	requests []Recorded
}

// Record starts a recorder that refuses all requests, for as long as the test runs.
func Record(t *testing.T) *Recorder {
	t.Helper()
	return Serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
}

// Serve starts a recorder whose requests answer answers, for as long as the test runs. It finds
// no body there: the recorder has read it.
func Serve(t *testing.T, answer http.HandlerFunc) *Recorder {
	t.Helper()
	r := &Recorder{answer: answer}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.URL, r.Close = server.URL, server.Close
	return r
}

// ServeHTTP keeps a request, and answers it.
func (r *Recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the client is gone
	}
	r.mu.Lock()
	r.requests = append(r.requests, Recorded{req.Method, req.URL.RequestURI(), req.Header.Clone(), body})
	r.mu.Unlock()
	r.answer(w, req)
}

// Requests are the requests until now, oldest first.
func (r *Recorder) Requests() []Recorded {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}
