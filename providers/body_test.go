package providers_test

import (
	"encoding/json"
	"testing"

	"oneflow/providers"
)

func TestAnEndpointMayHaveTheModelInItsPath(t *testing.T) {
	t.Parallel()
	c := providers.Capabilities{Endpoints: []providers.Endpoint{
		{Path: "/v1/chat/completions"},
		{Path: "/v1beta/models/" + providers.ModelInPath + ":generateContent"},
	}}
	for address, want := range map[string]struct{ path, model string }{
		"/v1/chat/completions":                            {"/v1/chat/completions", ""},
		"https://api.openai.com/v1/chat/completions":      {"/v1/chat/completions", ""},
		"/v1beta/models/gemini-3.8-flash:generateContent": {"/v1beta/models/{model}:generateContent", "gemini-3.8-flash"},
		"https://generativelanguage.googleapis.com/v1beta/models/gemini-3.8-flash:generateContent?key=k": {"/v1beta/models/{model}:generateContent", "gemini-3.8-flash"},
		"models/gemini-3.8-flash:generateContent":                                                        {"/v1beta/models/{model}:generateContent", "gemini-3.8-flash"},
		"/v1beta/models/{model}:generateContent":                                                         {"/v1beta/models/{model}:generateContent", ""},
		"generateContent":                                                                                {"/v1beta/models/{model}:generateContent", ""},
		"/v1beta/models/a/b:generateContent":                                                             {"", ""},
		"/v1beta/models/a:countTokens":                                                                   {"", ""},
		":generateContent":                                                                               {"", ""},
		"":                                                                                               {"", ""},
	} {
		e, ok := c.Endpoint(address)
		if e.Path != want.path || ok != (want.path != "") || ok && e.ModelOf(address) != want.model {
			t.Errorf("%q: %s of %q, want %+v", address, e.Path, e.ModelOf(address), want)
		}
	}
}

func TestWhatAVendorBringsInIsToldByFieldsAndTools(t *testing.T) {
	t.Parallel()
	c := providers.Capabilities{Kept: []string{"previous", "file_search", "urlContext"}}
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	for name, tt := range map[string]struct {
		req  providers.Request
		want bool
	}{
		"nothing":             {providers.Request{Prompt: "a"}, false},
		"another field":       {providers.Request{Extra: map[string]json.RawMessage{"store": raw(`true`)}}, false},
		"an earlier answer":   {providers.Request{Extra: map[string]json.RawMessage{"previous": raw(`"r"`)}}, true},
		"none after all":      {providers.Request{Extra: map[string]json.RawMessage{"previous": raw(`null`)}}, false},
		"a function":          {providers.Request{Tools: []providers.Tool{{Name: "file_search"}}}, false},
		"a tool by its type":  {providers.Request{Tools: []providers.Tool{{Own: raw(`{"type":"file_search_2","ids":[]}`)}}}, true},
		"a tool by its field": {providers.Request{Tools: []providers.Tool{{Own: raw(`{"urlContext":{}}`)}}}, true},
		"a tool of no form":   {providers.Request{Tools: []providers.Tool{{Own: raw(`[]`)}}}, false},
	} {
		if got := c.BringsIn(tt.req); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
