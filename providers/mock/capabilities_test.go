package mock_test

import (
	"encoding/json"
	"strings"
	"testing"

	"oneflow/providers"
	"oneflow/providers/mock"
	"oneflow/providers/providertest"
)

func TestMockTakesEachTaskAndRefusesWhatIsNotSensible(t *testing.T) {
	t.Parallel()
	caps := mock.Descriptor().Capabilities()
	for _, task := range providers.Tasks() {
		if err := caps.Check(providertest.Least(providers.Request{Task: task, Prompt: "a"})); err != nil {
			t.Errorf("%s: %v", task, err)
		}
		if caps.Tasks[task].DefaultModel == "" {
			t.Errorf("%s: no default model", task)
		}
	}
	format := func(kind string, schema *providers.JSONSchema) *providers.ResponseFormat {
		return &providers.ResponseFormat{Type: kind, JSONSchema: schema}
	}
	for want, req := range map[string]providers.Request{
		"":                         {Task: providers.Image, Prompt: "a", Size: "1024x1", N: 3},
		"size: must be WIDTHx":     {Task: providers.Image, Prompt: "a", Size: "1025x64"},
		`got "big"`:                {Task: providers.Image, Prompt: "a", Size: "big"},
		"must be even":             {Task: providers.Video, Prompt: "a", Size: "63x64"},
		"seconds: must be at most": {Task: providers.Video, Prompt: "a", Seconds: 21},
		"response_format.type":     {Task: providers.Text, Prompt: "a", ResponseFormat: format("yaml", nil)},
		"json_schema: is needed":   {Task: providers.Text, Prompt: "a", ResponseFormat: format("json_schema", nil)},
		"must be a JSON object": {
			Task: providers.Text, Prompt: "a", ResponseFormat: format("json_schema", &providers.JSONSchema{Name: "n", Schema: json.RawMessage("7")}),
		},
		`model "other"`:   {Task: providers.Text, Prompt: "a", Model: "other"},
		`option "size"`:   {Task: providers.Text, Prompt: "a", Size: "1x1"},
		"prompt: must no": {Task: providers.Audio},
	} {
		err := caps.Check(req)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", req, err, want)
		}
	}
}
