package providertest

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"unicode/utf8"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// Contract says what to hold against a vendor's description of its API.
type Contract struct {
	// Descriptor describes the kind of the provider.
	Descriptor providers.Descriptor
	// File is the description's name in shared/specs.
	File string
	// Tasks are those of the kind that the description tells of; nil: all.
	Tasks []providers.Task
	// Connect makes the provider for the server at url, with Key for its key.
	Connect func(url string, client *http.Client) (providers.Provider, error)
	// Allowed are requests that must pass, by what they are about. Together they
	// must set every option.
	Allowed map[string]providers.Request
	// Broken are requests that the client sends and the description must refuse,
	// so that the check is known to be able to fail.
	Broken map[string]providers.Request
}

// CheckContract records what the provider sends and holds it against the
// description.
func CheckContract(t *testing.T, c Contract) {
	t.Helper()
	description := Describe(t, c.File)
	for name, req := range c.Allowed {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sent := c.record(t, req)
			if err := description.Check(sent); err != nil {
				t.Errorf("the vendor's description refuses %s %s %s:\n%v", sent.Method, sent.URL, readable(sent.Body), err)
			}
		})
	}
	for name, req := range c.Broken {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sent := c.record(t, req)
			if err := description.Check(sent); err == nil {
				t.Errorf("the vendor's description allows %s %s %s: this test would notice nothing", sent.Method, sent.URL, readable(sent.Body))
			}
		})
	}
	for _, missing := range c.missing(t) {
		t.Errorf("no request that must pass sets %s", missing)
	}
}

// readable is a body as far as it is text.
func readable(body []byte) []byte {
	if utf8.Valid(body) {
		return body
	}
	return []byte("(a form)")
}

// missing are the options of the kind that no allowed request sets.
func (c Contract) missing(t *testing.T) []string {
	t.Helper()
	var missing []string
	for task, can := range c.Descriptor.Capabilities().Tasks {
		if c.Tasks != nil && !slices.Contains(c.Tasks, task) {
			continue
		}
		set := map[string]json.RawMessage{}
		for _, req := range c.Allowed {
			if req.Task != task {
				continue
			}
			data, err := json.Marshal(req)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(data, &set); err != nil { // adds to what is there
				t.Fatal(err)
			}
		}
		for _, name := range can.Options {
			if set[name] == nil {
				missing = append(missing, string(task)+" "+name)
			}
		}
	}
	slices.Sort(missing)
	return missing
}

// record returns the one request that the client makes of req.
func (c Contract) record(t *testing.T, req providers.Request) Recorded {
	t.Helper()
	recorder := Record(t)
	client := wire.NewClient(wire.Config{})
	t.Cleanup(client.CloseIdleConnections)
	provider, err := c.Connect(recorder.URL, client)
	if err != nil {
		t.Fatal(err)
	}
	_, err = provider.Generate(t.Context(), req)
	requests := recorder.Requests()
	if len(requests) != 1 {
		t.Fatalf("the client made %d requests, want 1: %v", len(requests), err)
	}
	return requests[0]
}
