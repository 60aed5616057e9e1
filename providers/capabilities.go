package providers

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Capabilities are the abilities of one kind of provider. They let a job be refused
// before it is accepted, without linking the provider's client.
type Capabilities struct {
	// Tasks are the tasks it can do, with what each takes.
	Tasks map[Task]TaskCapabilities
	// Endpoints take bodies in the vendor's own words.
	Endpoints []Endpoint
	// Extra reports whether fields of Request.Extra are passed on.
	Extra bool
	// Hints are the fields in Extra that change nothing of the answer, such as whose
	// request it is: they are left out where another provider takes over.
	Hints []string
	// Kept are the fields in Extra, and the types of the vendor's own tools, that bring in
	// content which the vendor has, such as an earlier answer or a file: nobody can tell here
	// how long it is.
	Kept []string
	// AnyModel reports whether any model name may be asked for. Where it is false
	// only the names in TaskCapabilities.Models are on offer.
	AnyModel bool
	// MediaTokens is the most input tokens that a model counts for a picture, a
	// document or a sound; nil: more than any is known to count.
	MediaTokens func(model string, p Part) int64

	// Refuse refuses combinations that the lists cannot express; nil refuses none.
	Refuse func(Request) error
}

// TaskCapabilities are the abilities of one kind of provider for one task.
type TaskCapabilities struct {
	// DefaultModel is used where a request names none.
	DefaultModel string
	// Models are the names on offer; empty where AnyModel holds.
	Models []string
	// Options are the JSON names of the Request fields that it understands,
	// beside task, model and extra.
	Options []string
	// Aliases are the provider's own names for options, such as
	// "max_completion_tokens": they do not belong into Extra.
	Aliases map[string]string
	// Parts are the types of parts that a message may hold, beside text.
	Parts []PartType
	// Pack is the number of prompts that one call takes, and PackTokens the number of their
	// input tokens together. 0: one prompt.
	Pack, PackTokens int
}

// MaxMediaTokens is the most input tokens that a medium can count: the whole of what
// most models read.
const MaxMediaTokens = 1 << 20

// CountMedia returns the most input tokens that the media in a request count.
func (c Capabilities) CountMedia(req Request) (pictures, sound int64) {
	count := c.MediaTokens
	if count == nil {
		count = anyMediaTokens
	}
	for p := range req.Media() {
		n := min(max(count(req.Model, p), 0), MaxMediaTokens)
		if p.Type == AudioPart {
			sound += n
		} else {
			pictures += n
		}
	}
	return pictures, sound
}

// BringsIn reports whether a request names content that the vendor has: then all that the
// model can read may be counted.
func (c Capabilities) BringsIn(req Request) bool {
	for _, name := range c.Kept {
		if len(req.Extra[name]) > 0 && string(req.Extra[name]) != "null" {
			return true
		}
	}
	return slices.ContainsFunc(req.Tools, func(t Tool) bool {
		kind := t.Kind()
		return kind != "" && slices.ContainsFunc(c.Kept, func(name string) bool { return strings.HasPrefix(kind, name) })
	})
}

// anyMediaTokens is more than any model is known to count for a medium.
func anyMediaTokens(_ string, p Part) int64 {
	const picture, page, second = 1 << 16, 1 << 13, 50
	switch p.Type {
	case ImagePart:
		return picture
	case AudioPart:
		if len(p.Data) > 0 {
			return SoundSeconds(p.Data) * second
		}
	case DocumentPart:
		if pages := PDFPages(p.Data); pages > 0 {
			return int64(pages) * page
		}
	case TextPart:
	}
	return MaxMediaTokens
}

// Check refuses what a provider of this kind cannot do. The
// error names the option, its value where that is short, and the way out.
func (c Capabilities) Check(req Request) error {
	if err := req.checkAnswer(); err != nil {
		return err
	}
	if req.Body != nil {
		return c.checkBody(req)
	}
	task, ok := c.Tasks[req.Task]
	if !ok {
		return fmt.Errorf("task %q: this provider does %s", req.Task, join(slices.Sorted(maps.Keys(c.Tasks))))
	}
	if req.Model != "" && !c.AnyModel && !slices.Contains(task.Models, req.Model) {
		return fmt.Errorf("model %q: this provider offers %s for %s", req.Model, join(task.Models), req.Task)
	}
	if n := len(req.With) + 1; n > max(task.Pack, 1) {
		return fmt.Errorf("prompt: %d prompts in one call: this provider takes %d", n, max(task.Pack, 1))
	}
	for _, name := range req.set() {
		if !slices.Contains(task.Options, name) {
			return fmt.Errorf("option %q: not understood for %s by this provider, which takes %s", name, req.Task, join(task.Options))
		}
	}
	if len(req.Extra) > 0 && !c.Extra {
		return fmt.Errorf("option %q: this provider passes nothing on beyond its named options", "extra")
	}
	for name := range req.Extra {
		option, alias := task.Aliases[name]
		switch {
		case slices.Contains(task.Options, name), name == "task", name == "model":
			return fmt.Errorf("extra.%s: has a name of its own, set %q beside extra", name, name)
		case alias:
			return fmt.Errorf("extra.%s: is called %q here, set that beside extra", name, option)
		case slices.Contains(RequestFields(), name):
			return fmt.Errorf("extra.%s: not understood for %s by this provider, which takes %s", name, req.Task, join(task.Options))
		}
	}
	if err := req.check(); err != nil {
		return err
	}
	if err := req.checkMessages(task.Parts); err != nil {
		return err
	}
	if c.Refuse != nil {
		return c.Refuse(req)
	}
	return nil
}

// checkAnswer refuses what cannot be done with an answer.
func (r Request) checkAnswer() error {
	switch {
	case r.Task != Text && r.Reask != nil:
		return fmt.Errorf("reask: is for task text, not for %s", r.Task)
	case r.Task != Text && r.OnCut != "":
		return fmt.Errorf("on_cut: is for task text, not for %s", r.Task)
	case r.Reasks() < 0 || r.Reasks() > maxReask:
		return fmt.Errorf("reask: must be from 0 to %d, got %d", maxReask, r.Reasks())
	case r.CacheSeconds < 0 || r.CacheSeconds > MaxCacheSeconds:
		return fmt.Errorf("cache_seconds: must be from 0 to %d, got %d", MaxCacheSeconds, r.CacheSeconds)
	}
	if err := r.CheckCombine(); err != nil {
		return err
	}
	return OneOf("on_cut", string(r.OnCut), string(KeepCut), string(FailCut), string(RetryCut))
}

// check refuses what no provider takes.
func (r Request) check() error {
	sounds := 0
	for range r.Media() {
		sounds++
	}
	switch {
	case r.Task == Transcription && (len(r.Messages) != 1 || sounds != 1 || len(r.Messages[0].Parts) != 1):
		return fmt.Errorf("file: a transcription needs one sound: name its file")
	case r.Task == Transcription: // the prompt is a hint
	case r.Prompt == "" && len(r.Messages) == 0:
		return fmt.Errorf("prompt: must not be empty")
	case r.Prompt != "" && len(r.Messages) > 0:
		return fmt.Errorf("messages: give either prompt or messages, not both")
	}
	switch {
	case r.Dimensions < 0:
		return fmt.Errorf("dimensions: must be positive, got %d", r.Dimensions)
	case len(r.Language) > 35: // the longest tag that RFC 5646 knows of
		return fmt.Errorf("language: must be a tag such as en, got %.40q", r.Language)
	case r.MaxTokens < 0:
		return fmt.Errorf("max_tokens: must be positive, got %d", r.MaxTokens)
	case r.Temperature != nil && (*r.Temperature < 0 || *r.Temperature > 2):
		return fmt.Errorf("temperature: must be from 0 to 2, got %g", *r.Temperature)
	case r.TopP != nil && (*r.TopP < 0 || *r.TopP > 1):
		return fmt.Errorf("top_p: must be from 0 to 1, got %g", *r.TopP)
	case r.N < 0 || r.N > r.mostAnswers():
		return fmt.Errorf("n: must be from 1 to %d, got %d", r.mostAnswers(), r.N)
	case r.TopLogProbs < 0 || r.TopLogProbs > 20:
		return fmt.Errorf("top_logprobs: must be from 1 to 20, got %d", r.TopLogProbs)
	case r.TopLogProbs > 0 && !r.LogProbs:
		return fmt.Errorf("top_logprobs: needs logprobs, which is not set")
	case r.Speed != nil && (*r.Speed < 0.25 || *r.Speed > 4):
		return fmt.Errorf("speed: must be from 0.25 to 4, got %g", *r.Speed)
	case r.Seconds < 0:
		return fmt.Errorf("seconds: must be positive, got %d", r.Seconds)
	}
	return OneOf("effort", r.Effort, "none", "minimal", "low", "medium", "high", "xhigh", "max")
}

// mostAnswers returns the largest N of a call.
func (r Request) mostAnswers() int {
	if r.Task == Text {
		return 128
	}
	return 10
}

// set lists the JSON names of the options that r sets and that are sent, sorted.
func (r Request) set() []string {
	r.Task, r.Model, r.Extra, r.Reask, r.OnCut, r.CacheSeconds, r.CacheVaried, r.Combine = "", "", nil, nil, "", 0, false, 0
	var names []string
	all := reflect.ValueOf(&r).Elem()
	for i := range all.NumField() {
		value := all.Field(i)
		if value.IsZero() || value.Kind() == reflect.Slice && value.Len() == 0 {
			continue
		}
		if name := jsonName(all.Type().Field(i)); name != "-" { // looked up last: most are not set
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// RequestFields lists the JSON names of all fields of a Request, sorted.
func RequestFields() []string {
	var names []string
	for field := range reflect.TypeFor[Request]().Fields() {
		if name := jsonName(field); name != "-" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// jsonName is the name of a field of a request in JSON.
func jsonName(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
	return name
}

func join[S ~string](names []S) string {
	if len(names) == 0 {
		return "nothing"
	}
	parts := make([]string, len(names))
	for i, n := range names {
		parts[i] = string(n)
	}
	return strings.Join(parts, ", ")
}
