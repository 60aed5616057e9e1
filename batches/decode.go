package batches

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"oneflow/batches/rows"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/providers/kinds"
	"oneflow/providers/schema"
)

// row is a line: what the job is, and the request itself.
type row struct {
	CustomID string     `json:"custom_id"`
	Provider string     `json:"provider"`
	Lane     jobs.Lane  `json:"lane"`
	RunAt    *time.Time `json:"run_at"`
	// CompleteBy is the time by which it must be done.
	CompleteBy *time.Time `json:"complete_by"`
	// Chain and Fallback: see jobs.New.
	Chain    []string           `json:"chain"`
	Fallback providers.Fallback `json:"fallback"`
	providers.Request
}

// alias is another name of a field.
type alias struct{ name, field string }

// aliases are the names that OpenAI has for fields of a row.
func aliases() []alias {
	return []alias{{"max_completion_tokens", "max_tokens"}, {"reasoning_effort", "effort"}}
}

// isAlias reports whether a name is OpenAI's for a field.
func isAlias(name string) bool {
	return slices.ContainsFunc(aliases(), func(a alias) bool { return a.name == name })
}

// FieldNames lists the names that a row's fields may have, sorted.
func FieldNames() []string {
	names := namesOf[row]()
	for _, a := range aliases() {
		names = append(names, a.name)
	}
	slices.Sort(names)
	return names
}

// TableColumns are names of which a table of prompts has at least one: FieldNames, and the columns
// that a Map takes fields from.
func TableColumns(mapped map[string]string) []string {
	return slices.DeleteFunc(slices.AppendSeq(FieldNames(), maps.Values(mapped)), func(name string) bool { return name == "" })
}

// Fields are the fields of one row by name, each still as JSON.
type Fields map[string]json.RawMessage

// decoder makes jobs of the rows of one source.
type decoder struct {
	Input
	// options are the names of a row's fields that decide something.
	options map[string][]int
	// told are the columns that OnColumn was told of, and whether each is an option.
	told    map[string]bool
	table   bool // all rows have the same columns
	schemas schema.Checker
	// can holds what the providers can do that were asked for: to describe one takes as long as to read a row.
	can map[string]providers.Capabilities
}

func newDecoder(in Input) *decoder {
	return &decoder{Input: in, options: index(reflect.TypeFor[row]()), told: map[string]bool{}, can: map[string]providers.Capabilities{}}
}

// capabilities returns what a provider of a kind can do; ok is false where there is no such kind.
func (in *decoder) capabilities(provider, kind string) (can providers.Capabilities, ok bool) {
	if can, ok = in.can[provider]; ok {
		return can, true
	}
	if can, ok = kinds.CapabilitiesOf(kind); !ok {
		return can, false
	}
	if in.Preset != nil {
		can = in.Preset(provider).Narrow(can)
	}
	in.can[provider] = can
	return can, true
}

// maxTold is the number of columns that OnColumn is told of at most.
const maxTold = 1000

// columns returns the columns of a row that are no option, as a JSON object in their
// order, and takes them out of its fields; the template's prompt goes in. Cells that
// stand for no value go out of what is an option.
func (in *decoder) columns(row rows.Row) ([]byte, error) {
	var prompt []byte
	if in.Template != nil {
		var err error
		if prompt, err = in.Template.render(row); err != nil {
			return nil, err
		}
	}
	isOption := func(name string) bool {
		_, ok := in.options[name]
		return !in.keeps(name) && (ok || isAlias(name) || name == in.taskField(Fields(row.Fields))) && (in.Template == nil || name != "prompt")
	}
	envelope := in.envelope(Fields(row.Fields))
	own := []byte{'{'}
	for _, name := range row.Names {
		value, mapped := row.Fields[name], false
		for _, column := range in.Map {
			mapped = mapped || column == name
		}
		if row.Cells && (mapped || isOption(name)) && isNothing(text(value)) {
			row.Fields[name] = []byte("null")
		}
		if isOption(name) || slices.Contains(envelope, name) {
			if in.table && in.options[name] != nil && in.Map[name] == "" && name != "prompt" && name != "messages" && name != "custom_id" && Fields(row.Fields).has(name) {
				in.tell(name, true)
			}
			continue
		}
		if len(name) > 256 || strings.ContainsRune(name, 0) {
			return nil, errors.New("the name of a column must be at most 256 bytes, without NUL")
		}
		if _, told := in.told[name]; !told && !in.renames() && !in.keeps(name) && name != "prompt" { // which is the row's own beside a template
			if err := in.looksLikeOption(Fields(row.Fields), name); err != nil {
				return nil, err
			}
		}
		if len(own) > 1 {
			own = append(own, ',')
		}
		own = append(append(append(own, quote(name)...), ':'), value...)
		in.tell(name, false)
		if !in.renames() { // which takes what it names alone
			delete(row.Fields, name)
		}
	}
	if prompt != nil {
		row.Fields["prompt"] = prompt
	}
	if len(own) == 1 {
		return nil, nil
	}
	return append(own, '}'), nil
}

// tell tells of a column when it first comes.
func (in *decoder) tell(name string, option bool) {
	if _, told := in.told[name]; told || len(in.told) >= maxTold {
		return
	}
	in.told[name] = option
	if in.OnColumn != nil {
		in.OnColumn(name, option)
	}
}

// decode makes a job of a row.
func (in *decoder) decode(from rows.Row) (jobs.New, error) {
	own, err := in.columns(from)
	if err != nil {
		return jobs.New{}, err
	}
	fields, err := in.named(Fields(from.Fields))
	if err != nil {
		return jobs.New{}, err
	}
	if in.Ask != nil {
		in.Ask.take(fields)
	}
	// A row that names its provider or its chain has said who is to be asked.
	routed := fields.has("provider") || fields.has("chain")
	of := fields["task"]
	if !fields.has("task") {
		of = in.Defaults["task"]
	}
	prompted := len(of) == 0 || text(of) == string(providers.Text)
	for name, value := range in.Defaults {
		if !prompted && (name == "reask" || name == "on_cut" || name == "combine") {
			continue // they are about texts
		}
		if !fields.has(name) && (!routed || name != "provider" && name != "chain") {
			fields[name] = value
		}
	}
	if in.CacheSeconds > 0 && !fields.has("cache_seconds") {
		fields["cache_seconds"] = encoded(in.CacheSeconds)
		if in.CacheVaried && !fields.has("cache_varied") {
			fields["cache_varied"] = encoded(true)
		}
	}
	if in.OfFiles {
		if err := in.askAbout(fields); err != nil {
			return jobs.New{}, err
		}
	}
	if err := taskFields(fields); err != nil {
		return jobs.New{}, err
	}
	in.mark(fields)
	if err := systemParts(fields); err != nil {
		return jobs.New{}, err
	}
	if _, named := fields["prompt"]; !named && own != nil && !in.ForPrograms && !fields.has("messages") && !fields.has("body") {
		return jobs.New{}, in.noPrompt(from.Names)
	}
	var r row
	if err := fill(&r, in.options, fields); err != nil {
		return jobs.New{}, err
	}
	if err := in.readFiles(r.Messages); in.OfFiles && err != nil {
		return jobs.New{}, errors.Unwrap(err) // its place is the file
	} else if err != nil {
		return jobs.New{}, err
	}
	simplify(&r.Request)
	if combine, own := from.Fields["combine"]; (!own || len(combine) == 0) && r.CheckCombine() != nil {
		r.Combine = 0 // asked for all rows, and it needs a request of its own
	}
	if err := in.complete(&r); err != nil {
		return jobs.New{}, err
	}
	if f := kinds.Named("", r.Request).ResponseFormat; f != nil && f.JSONSchema != nil {
		if err := in.schemas.Compile(f.JSONSchema.Schema); err != nil {
			return jobs.New{}, fmt.Errorf("response_format.json_schema.schema: %w", err)
		}
	}
	job := jobs.New{
		ID: jobs.NewID(), Seq: from.Place, Own: own, CustomID: r.CustomID, Account: in.Account, Provider: r.Provider,
		Lane: r.Lane, Request: r.Request, OnUnknown: in.OnUnknown, Chain: r.Chain, Fallback: r.Fallback, RunAt: in.RunAt, Deadline: in.Deadline,
	}
	if r.RunAt != nil {
		job.RunAt = *r.RunAt
	}
	if r.CompleteBy != nil {
		job.Deadline = *r.CompleteBy
	}
	switch {
	case job.Deadline.IsZero():
	case !job.Deadline.After(time.Now()):
		return jobs.New{}, fmt.Errorf("complete_by: %s lies in the past", job.Deadline.Format(time.RFC3339))
	case !job.Deadline.After(job.RunAt):
		return jobs.New{}, fmt.Errorf("complete_by: %s is no later than run_at", job.Deadline.Format(time.RFC3339))
	}
	return job, nil
}

// has reports whether a row sets a field. Null is as good as nothing.
func (f Fields) has(name string) bool { return len(f[name]) > 0 && string(f[name]) != "null" }

// keeps reports whether Map says that a column is the row's own, whatever its name: the field
// of this name comes from another column, or from none.
func (in Input) keeps(name string) bool {
	column, ok := in.Map[name]
	return ok && column != name
}

// renames reports whether Map takes a field from a column; else it only keeps some.
func (in Input) renames() bool {
	for _, column := range in.Map {
		if column != "" {
			return true
		}
	}
	return false
}

// isNothing reports whether a cell stands for no value: an empty one, and what pandas,
// R and databases write for none.
func isNothing(cell string) bool {
	switch cell {
	case "", "NaN", "nan", "<NA>", "NaT", "#N/A", `\N`:
		return true
	}
	return false
}

// envelope lists the fields of a vendor's batch line around the request itself.
func (in *decoder) envelope(fields Fields) []string {
	switch {
	case in.renames():
	case in.Shape == ShapeOpenAI || isOpenAI(fields):
		return []string{"method", "url", "body", "endpoint"}
	case in.Shape == ShapeAnthropic || isAnthropic(fields):
		return []string{"params"}
	}
	return nil
}

// named returns a row's fields by our names for them.
func (in Input) named(fields Fields) (Fields, error) {
	var err error
	switch {
	case in.renames():
		fields, err = in.rename(fields)
	case in.Shape == ShapeOpenAI && !fields.has("body"):
		return nil, errors.New("body: is missing; a line of an OpenAI batch has custom_id, method, url and body")
	case in.Shape == ShapeAnthropic && !fields.has("params"):
		return nil, errors.New("params: is missing; a request of an Anthropic batch has custom_id and params")
	case isOpenAI(fields):
		fields, err = fromOpenAI(fields)
	case isAnthropic(fields):
		fields, err = fromAnthropic(fields)
	}
	if err != nil {
		return nil, err
	}
	for _, a := range aliases() {
		if !fields.has(a.name) {
			continue
		}
		if fields.has(a.field) && string(fields[a.field]) != string(fields[a.name]) {
			return nil, fmt.Errorf("%s: says the same as %s, and has another value: give only one of them", a.name, a.field)
		}
		fields[a.field] = fields[a.name]
		delete(fields, a.name)
	}
	return fields, nil
}

// complete checks a row, and fills in its task, its provider and its model.
func (in *decoder) complete(r *row) error {
	if r.Task == "" {
		r.Task = providers.Text
	}
	if err := in.route(r); err != nil {
		return err
	}
	if r.Provider == "" && in.ForPrograms {
		return errors.New("provider: is missing")
	}
	if r.Provider == "" {
		return errors.New("provider: is missing; name one in the row or with --provider")
	}
	kind, ok := in.Kind(r.Provider)
	if !ok {
		return fmt.Errorf("provider %s: is not configured", rows.Quoted(r.Provider))
	}
	can, ok := in.capabilities(r.Provider, kind)
	if !ok {
		return fmt.Errorf("provider %q: no such kind of provider as %q", r.Provider, kind)
	}
	if _, own := can.Endpoint(r.Endpoint); r.Body != nil && !own {
		var err error
		if r.Request, err = translated(r.Request, r.Provider); err != nil {
			return err
		}
		simplify(&r.Request)
	}
	// What the model is decides what may be asked of it.
	asked := r.Request
	if asked.Model == "" && in.DefaultModel != nil && r.Body == nil {
		asked.Model = in.DefaultModel(r.Provider, r.Task)
	}
	if err := can.Check(asked); err != nil {
		return errors.New(strings.ReplaceAll(err.Error(), "this provider", r.Provider))
	}
	if r.Model == "" && r.Body != nil && len(can.Tasks[r.Task].Options) == 0 {
		return errors.New("body.model: is missing")
	}
	if r.Model == "" {
		r.Model = can.Tasks[r.Task].DefaultModel
		if in.DefaultModel != nil {
			r.Model = in.DefaultModel(r.Provider, r.Task)
		}
		if r.Model == "" {
			return fmt.Errorf("model: is missing, and provider %q has no default for %s: name one, or set providers.%s.models.%s in the configuration",
				r.Provider, r.Task, r.Provider, r.Task)
		}
	}
	switch r.Lane {
	case "", jobs.High, jobs.Default, jobs.Bulk:
	default:
		return fmt.Errorf("lane %s: must be high, default or bulk", rows.Quoted(string(r.Lane)))
	}
	if len(r.CustomID) > 256 || strings.ContainsRune(r.CustomID, 0) {
		return errors.New("custom_id: must be at most 256 bytes, without NUL")
	}
	if len(r.Model) > 256 || strings.ContainsRune(r.Model, 0) {
		return errors.New("model: must be at most 256 bytes, without NUL")
	}
	if in.OnModel != nil {
		return in.OnModel(r.Provider, r.Task, r.Model)
	}
	return nil
}

// simplify makes one prompt, with a system prompt at most, of a conversation that is no
// more than that: the same question is the same request in whatever form it came.
func simplify(r *providers.Request) {
	turns := r.Messages
	if r.Prompt != "" || len(turns) == 0 || len(turns) > 2 {
		return
	}
	plain := func(m providers.Message, role string) bool {
		return m.Content != "" && reflect.DeepEqual(m, providers.Message{Role: role, Content: m.Content})
	}
	if last := turns[len(turns)-1]; plain(last, "user") {
		if len(turns) == 2 {
			if r.System != "" || !plain(turns[0], "system") {
				return
			}
			r.System = turns[0].Content
		}
		r.Prompt, r.Messages = last.Content, nil
	}
}
