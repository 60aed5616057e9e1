package batches_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"oneflow/batches"
	"oneflow/billing"
	"oneflow/jobs"
)

func stepInput() batches.Input {
	return batches.Input{Kind: func(name string) (string, bool) { return name, name == "openai" || name == "mock" }}
}

func compiled(t *testing.T, s batches.Step) *batches.CompiledStep {
	t.Helper()
	if s.Name == "" {
		s.Name = "next"
	}
	if s.Defaults == nil {
		s.Defaults = map[string]json.RawMessage{"provider": []byte(`"openai"`)}
	}
	c, err := s.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var png = []byte("\x89PNG\r\n\x1a\n and so on")

func TestAStepHandsThePictureOnOrItsAddress(t *testing.T) {
	t.Parallel()
	a := batches.Answer{
		ID: jobs.NewID(), Step: "draw", Parent: jobs.Parent{Seq: 3}, Account: "acme", Artifacts: []jobs.Artifact{{MIME: "image/png", URL: "file:///a.png", Size: int64(len(png))}},
		Files: fstest.MapFS{"artifact": {Data: png}},
	}
	child := compiled(t, batches.Step{Template: "What is on {{artifact}}?", Attach: true}).Child(stepInput(), "b", a, time.Now(), nil)
	if child.Class != "" || child.New.Account != "acme" || child.New.Seq != 3 {
		t.Fatalf("%+v", child)
	}
	m := child.New.Request.Messages
	if len(m) != 1 || len(m[0].Parts) != 2 || m[0].Parts[0].Text != "What is on file:///a.png?" || string(m[0].Parts[1].Data) != string(png) || m[0].Parts[1].Type != "image" {
		t.Errorf("%+v", m)
	}
	a.Artifacts, a.Files = nil, nil
	if child := compiled(t, batches.Step{Template: "{{custom_id}}", Attach: true}).Child(stepInput(), "b", a, time.Now(), nil); child.Class != "refused" {
		t.Errorf("nothing to attach: %+v", child)
	}
}

func TestTheAnswersOfEarlierStepsAreColumnsOfTheRow(t *testing.T) {
	t.Parallel()
	first := compiled(t, batches.Step{Name: "b", Template: "{{answer}}"}).Child(stepInput(), "p.2.b",
		batches.Answer{ID: jobs.NewID(), Step: "a", Parent: jobs.Parent{Seq: 1, CustomID: "x", Own: []byte(`{"q": 1}`)}, Text: "one \"quoted\""}, time.Now(), nil)
	if first.New.Key != "c:x" || first.New.CustomID != "x" {
		t.Errorf("%+v", first.New)
	}
	second := compiled(t, batches.Step{Name: "c", Template: "{{a}}, {{b}}, {{q}}, {{row.q}}"}).Child(stepInput(), "p.3.c",
		batches.Answer{ID: jobs.NewID(), Step: "b", Parent: jobs.Parent{Own: first.New.Own}, Text: "two"}, time.Now(), nil)
	if second.Class != "" || second.New.Request.Prompt != `one "quoted", two, 1, 1` {
		t.Errorf("%+v %+v", second, second.New.Request)
	}
	if string(second.New.Own) != `{"q": 1,"a":"one \"quoted\"","b":"two"}` {
		t.Errorf("%s", second.New.Own)
	}
}

func TestWhatIsWrongWithAChildIsSaidByIt(t *testing.T) {
	t.Parallel()
	answer := batches.Answer{ID: jobs.NewID(), Parent: jobs.Parent{Seq: 1}, Text: "text"}
	poor := func(*jobs.New) error { return &billing.FundsError{} }
	broken := func(*jobs.New) error { return errors.New("no answer from Postgres") }
	for name, c := range map[string]struct {
		step   batches.Step
		afford func(*jobs.New) error
		class  string
		why    string
	}{
		"a column":    {batches.Step{Template: "{{nothing}}"}, nil, "refused", "nothing"},
		"a field":     {batches.Step{Template: "{{answer.score}}"}, nil, "refused", "answer.score"},
		"a filter":    {batches.Step{Template: "{{answer}}", Filter: []string{"answer.score > 1"}}, nil, "refused", `filter: "answer.score" is not there, since "answer" is no JSON object: response_format, among what the step before sets, asks for JSON`},
		"a provider":  {batches.Step{Template: "{{answer}}", Defaults: map[string]json.RawMessage{"provider": []byte(`"gone"`)}}, nil, "refused", "gone"},
		"an option":   {batches.Step{Template: "{{answer}}", Defaults: map[string]json.RawMessage{"provider": []byte(`"openai"`), "temperature": []byte(`9`)}}, nil, "refused", "temperature"},
		"no money":    {batches.Step{Template: "{{answer}}"}, poor, "out_of_funds", "next"},
		"no Postgres": {batches.Step{Template: "{{answer}}"}, broken, "internal", "Postgres"},
	} {
		child := compiled(t, c.step).Child(stepInput(), "b", answer, time.Now(), c.afford)
		if child.New == nil || child.Class != c.class || !strings.Contains(child.Message, c.why) || child.New.Key != "p:"+answer.ID.String() || len(child.New.Encoded) == 0 {
			t.Errorf("%s: %+v", name, child)
		}
	}
	if child := compiled(t, batches.Step{Template: "{{answer}}", Filter: []string{"answer == other"}}).Child(stepInput(), "b", answer, time.Now(), nil); child.New != nil || child.Class != "" {
		t.Errorf("left out: %+v", child)
	}
}

func TestAStepThatCouldMakeNothingIsRefusedBefore(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]batches.Step{
		"Upper": {Name: "Upper", Template: "{{answer}}"}, "answer": {Name: "answer", Template: "{{answer}}"},
		"no column": {Name: "x", Template: "always the same"}, "filter": {Name: "x", Template: "{{answer}}", Filter: []string{"answer"}},
	} {
		if _, err := s.Compile(); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	c := compiled(t, batches.Step{Name: "last", Template: "{{answer}} {{first}} {{q}}"})
	if err := c.CheckColumns([]byte(`{"q":1}`), []string{"first"}); err != nil {
		t.Error(err)
	}
	if err := c.CheckColumns([]byte(`{"other":1}`), []string{"first"}); err == nil || !strings.Contains(err.Error(), `"q"`) {
		t.Error(err)
	}
	if err := c.CheckColumns([]byte(`{"q":1,"last":2}`), []string{"first"}); err == nil || !strings.Contains(err.Error(), "a column of the input") {
		t.Error(err)
	}
	if err := c.CheckRequest(stepInput()); err != nil {
		t.Error(err)
	}
	bad := compiled(t, batches.Step{Template: "{{answer}}", Defaults: map[string]json.RawMessage{"provider": []byte(`"openai"`), "max_tokens": []byte(`"many"`)}})
	if err := bad.CheckRequest(stepInput()); err == nil || !strings.Contains(err.Error(), "max_tokens") {
		t.Error(err)
	}
}

// A row that has a prompt may be improved by a template, which makes another of it.
func TestATemplateMayTakeAColumnThatIsCalledPrompt(t *testing.T) {
	t.Parallel()
	in := stepInput()
	template, err := batches.ParseTemplate("Improve: {{prompt}}")
	if err != nil {
		t.Fatal(err)
	}
	in.Template, in.Defaults = template, map[string]json.RawMessage{"provider": []byte(`"openai"`)}
	job, err := in.One(map[string]json.RawMessage{"prompt": []byte(`"a haiku"`)})
	if err != nil || job.Request.Prompt != "Improve: a haiku" || string(job.Own) != `{"prompt":"a haiku"}` {
		t.Errorf("%+v, own %s, %v", job.Request, job.Own, err)
	}
}

// Models put JSON into a block of Markdown, unless they are asked for JSON alone.
func TestAFieldOfAnAnswerInABlockOfMarkdownIsFound(t *testing.T) {
	t.Parallel()
	step := compiled(t, batches.Step{Template: "{{answer.score}}", Filter: []string{"answer.score >= 7"}})
	for text, want := range map[string]string{
		"```json\n{\"score\": 8}\n```":     "8",
		"```\n{\"score\": 9}\n```\n":       "9",
		" {\"score\": 7} ":                 "7",
		"```json\n{\"score\": 6}\n```":     "",
		"Sure: ```json\n{\"score\": 8}```": "refused",
		"```json\n{\"score\": 8}":          "refused",
		"```\n":                            "refused",
	} {
		child := step.Child(stepInput(), "b", batches.Answer{ID: jobs.NewID(), Step: "rate", Parent: jobs.Parent{Seq: 1, Own: []byte(`{"q":"x"}`)}, Text: text}, time.Now(), nil)
		got := child.Class
		if child.New != nil && got == "" {
			got = child.New.Request.Prompt
		}
		if got != want {
			t.Errorf("%q: %q (%s)", text, got, child.Message)
		}
		if child.Class != "" && !strings.HasPrefix(string(child.New.Own), `{"q":"x","rate":`) {
			t.Errorf("a child that failed has not the answer before: %s", child.New.Own)
		}
	}
}
