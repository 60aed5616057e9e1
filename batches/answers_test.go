package batches_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/batches"
	"oneflow/jobs"
	"oneflow/providers"
)

// several are rows that asked for more than one answer, and one that did not.
func several() records {
	of := func(id, provider, text, raw string) batches.Record {
		return batches.Record{ID: id, CustomID: id, Task: providers.Text, Provider: provider, Model: "m", State: jobs.Succeeded, Calls: 1, HTTPStatus: 200, Text: text, FinishReason: "stop", Raw: []byte(raw)}
	}
	return records{
		of("a", "openai", "one", `{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"one"}},{"index":1,"finish_reason":"length","message":{"content":[{"type":"text","text":"<t"},{"type":"text","text":"wo>"}]}},{"index":2,"message":{"content":null,"tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}]}}]}`),
		of("b", "gemini", "eins", `{"candidates":[{"content":{"parts":[{"text":"hm","thought":true},{"text":"eins"}]},"finishReason":"STOP"},{"content":{"parts":[{"text":"hm","thought":true},{"text":"zw"},{"text":"ei"}]},"finishReason":"MAX_TOKENS"}]}`),
		of("c", "openai", "alone", `{"choices":[{"message":{"content":"alone"}}]}`),
	}
}

func TestEachFormatHasAllAnswersOfARow(t *testing.T) {
	t.Parallel()
	export := func(f batches.Format, with ...string) []string {
		var out bytes.Buffer
		if _, err := (batches.Export{Format: f, With: with}).Write(t.Context(), several(), "b1", &out); err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(out.String()), "\n")
	}
	want := [][]string{{"one", "<two>", ""}, {"eins", "zwei"}, nil}
	for _, f := range []batches.Format{batches.FormatOpenAI, batches.FormatAnthropic, batches.FormatRaw, batches.FormatJSONL} {
		for i, line := range export(f) {
			var row struct {
				OneFlow  struct{ Answers []string }
				Answers  []string
				Response struct {
					Body struct {
						Choices []struct {
							Index        int
							FinishReason string `json:"finish_reason"`
							Message      struct{ Content json.RawMessage }
						}
					}
				}
			}
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want[i], append(row.OneFlow.Answers, row.Answers...)); diff != "" {
				t.Errorf("%s: %s", f, diff)
			}
			if choices := row.Response.Body.Choices; f == batches.FormatOpenAI && i == 1 &&
				(len(choices) != 2 || choices[1].Index != 1 || choices[1].FinishReason != "length" || string(choices[1].Message.Content) != `"zwei"`) {
				t.Errorf("Google's answers as OpenAI has them: %+v", choices)
			}
		}
	}
	table := strings.Join(export(batches.FormatCSV, "text", "answers"), "\n")
	if want := "custom_id,label,n,score,good,text,result_text,answers\na,,,,,,one,\"[\"\"one\"\",\"\"<two>\"\",\"\"\"\"]\"\nb,,,,,,eins,\"[\"\"eins\"\",\"\"zwei\"\"]\"\nc,,,,,,alone,"; table != want {
		t.Errorf("%q", table)
	}
	if header := export(batches.FormatCSV)[0]; !strings.Contains(header, ",result_text,answers,") {
		t.Errorf("a table of rows with several answers has no column for them: %s", header)
	}
}
