// Package batches is what people bring and take: it reads files of prompts into
// jobs, line by line, and writes results out again. It may import jobs, billing
// and providers.
package batches

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"oneflow/jobs"
	"oneflow/providers"
)

// MaxLine is the longest line that is read, in bytes. A longer one is reported
// and skipped without being held in memory.
const MaxLine = 16 << 20

// Input says how to read a file of prompts.
type Input struct {
	// Name is what errors call the file.
	Name string
	// Map renames columns: from the name of a row's field, such as "prompt", to
	// the column that holds it. With a Map, columns that have no meaning here
	// are passed over; without one they are errors.
	Map map[string]string
	// Defaults are fields for rows that do not set them, as JSON.
	Defaults map[string]json.RawMessage
	// Account, OnUnknown and RunAt hold for all rows.
	Account   string
	OnUnknown jobs.OnUnknown
	RunAt     time.Time
	// Kind returns the kind of the provider of that name; ok is false if none is
	// configured.
	Kind func(provider string) (kind string, ok bool)
	// DefaultModel returns the model of a provider for rows that name none; empty
	// if such rows are to be refused. Nil: the default of the provider's kind.
	DefaultModel func(provider string, task providers.Task) string
}

// LineError says what is wrong with one line. It never holds what the line says
// beyond names of fields and short option values.
type LineError struct {
	File   string
	Line   int64
	Reason string
}

// Error is file:line: reason.
func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Reason) }

// row is a line: what the job is, and the request itself.
type row struct {
	CustomID string     `json:"custom_id"`
	Provider string     `json:"provider"`
	Lane     jobs.Lane  `json:"lane"`
	RunAt    *time.Time `json:"run_at"`
	providers.Request
}

// rowFields are the names that a row may have, beside those of a request.
func rowFields() []string { return []string{"custom_id", "provider", "lane", "run_at"} }

// Read reads JSON lines and hands each good row to accept and each bad one to
// reject. Empty lines are passed over, as is a byte order mark at the start. It
// stops at the first error of accept, or of reading, and with a *LineError before
// anything is accepted where the file is none of JSON lines at all.
func (in Input) Read(r io.Reader, accept func(jobs.New) error, reject func(*LineError)) error {
	lines := bufio.NewReaderSize(r, 64<<10)
	keys := jobs.NewKeys()
	known := Fields()
	var buffer []byte // for all lines: a row keeps nothing of it
	begun := false
	for n := int64(1); ; n++ {
		var err error
		if buffer, err = readLine(lines, buffer[:0]); errors.Is(err, errLineTooLong) {
			// It is told now, since it may have no end.
			reject(&LineError{in.Name, n, fmt.Sprintf("the line is longer than %d MiB", MaxLine>>20)})
			err = skipLine(lines)
			buffer = nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s:%d: %w", in.Name, n, err)
		}
		line := buffer
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\xEF\xBB\xBF"))
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			if why := otherFormat(in.Name, line); !begun && why != "" {
				return &LineError{in.Name, n, why}
			}
			begun = true
			job, bad := in.parse(line, n, known)
			if bad == nil {
				bad = keys.Assign(&job)
			}
			if bad != nil {
				reject(&LineError{in.Name, n, printable(bad)})
			} else if err := accept(job); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
	}
}

// One makes a single job of fields, as a line of a file would.
func (in Input) One(fields map[string]json.RawMessage) (jobs.New, error) {
	line, err := json.Marshal(fields)
	if err != nil {
		return jobs.New{}, err
	}
	job, err := in.parse(line, 1, Fields())
	if err != nil {
		return jobs.New{}, errors.New(printable(err))
	}
	return job, jobs.NewKeys().Assign(&job)
}

var errLineTooLong = errors.New("line too long")

// readLine appends what stands up to the next newline, and gives up on a line that
// is too long.
func readLine(r *bufio.Reader, line []byte) ([]byte, error) {
	for {
		part, err := r.ReadSlice('\n')
		if line = append(line, part...); len(line) > MaxLine {
			if err == nil { // its end has been read
				return nil, errors.Join(errLineTooLong, r.UnreadByte())
			}
			return nil, errLineTooLong
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// skipLine reads past the next newline and keeps nothing.
func skipLine(r *bufio.Reader) error {
	for {
		if _, err := r.ReadSlice('\n'); !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

func (in Input) parse(line []byte, n int64, known []string) (jobs.New, error) {
	if !utf8.Valid(line) {
		return jobs.New{}, fmt.Errorf("not valid UTF-8 (at byte %d of the line)", firstInvalid(line))
	}
	if err := wellFormed(line); err != nil {
		return jobs.New{}, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil {
		return jobs.New{}, errors.New("not a JSON object")
	}
	fields, err := in.rename(fields, known)
	if err != nil {
		return jobs.New{}, err
	}
	for name, value := range in.Defaults {
		if given, set := fields[name]; !set || string(given) == "null" {
			fields[name] = value
		}
	}
	if err := cmp.Or(exactNames(fields, known), exactNested(fields)); err != nil {
		return jobs.New{}, err
	}
	var r row
	if err := decode(fields, &r); err != nil {
		return jobs.New{}, err
	}
	return in.job(r, n)
}

// rename applies Map.
func (in Input) rename(fields map[string]json.RawMessage, known []string) (map[string]json.RawMessage, error) {
	if len(in.Map) == 0 {
		return fields, nil
	}
	out := make(map[string]json.RawMessage, len(fields))
	for name, value := range fields {
		if slices.Contains(known, name) {
			out[name] = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.Map)) {
		column := in.Map[name]
		value, ok := fields[column]
		if !ok {
			return nil, fmt.Errorf("column %q, mapped to %s, is not there; the line has %s", column, name, list(fields))
		}
		if name == "prompt" || name == "custom_id" {
			value = asText(value)
		}
		out[name] = value
	}
	return out, nil
}

// asText makes a string of a number or a boolean, since ids and prompts often
// are numbers in other people's files.
func asText(value json.RawMessage) json.RawMessage {
	if len(value) == 0 || value[0] == '"' || value[0] == '{' || value[0] == '[' || bytes.Equal(value, []byte("null")) {
		return value
	}
	return json.RawMessage(`"` + string(value) + `"`)
}

// exactNames refuses names that encoding/json would take for a known one because
// they differ in case only, which would let two of them fight for one field.
func exactNames(fields map[string]json.RawMessage, known []string) error {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if slices.Contains(known, name) {
			continue
		}
		return unknownField(strconv.Quote(name))
	}
	return nil
}

// exactNested does the same for the objects inside of fields. What has the wrong
// form is left to decode.
func exactNested(fields map[string]json.RawMessage) error {
	type object = map[string]json.RawMessage
	var messages []object
	var voice, format, schema object
	_ = json.Unmarshal(orNull(fields["messages"]), &messages)
	_ = json.Unmarshal(orNull(fields["voice_settings"]), &voice)
	_ = json.Unmarshal(orNull(fields["response_format"]), &format)
	_ = json.Unmarshal(orNull(format["json_schema"]), &schema)
	for _, m := range messages {
		if err := exactNames(m, []string{"role", "content"}); err != nil {
			return err
		}
	}
	return cmp.Or(
		exactNames(voice, []string{"stability", "similarity_boost", "style", "use_speaker_boost"}),
		exactNames(format, []string{"type", "json_schema"}),
		exactNames(schema, []string{"name", "description", "schema", "strict"}),
	)
}

func orNull(value json.RawMessage) json.RawMessage {
	if value == nil {
		return json.RawMessage("null")
	}
	return value
}

func unknownField(quoted string) error {
	return fmt.Errorf("unknown field %s: a provider's own fields go into \"extra\"; --map passes over columns without a meaning", shorten(quoted))
}

func decode(fields map[string]json.RawMessage, into *row) error {
	data, err := json.Marshal(fields)
	if err != nil {
		return errors.New("not a JSON object")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err = d.Decode(into)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		// The path begins with the name of the embedded struct.
		return fmt.Errorf("%s: must be %s, got a JSON %s", strings.TrimPrefix(e.Field, "Request."), typeName(e.Type.String()), shorten(e.Value))
	}
	if _, name, found := strings.Cut(err.Error(), "unknown field "); found {
		return unknownField(name)
	}
	if err := json.Unmarshal(fields["run_at"], new(*time.Time)); err != nil && fields["run_at"] != nil {
		return errors.New(`run_at: must be a time such as "2026-01-31T18:00:00Z"`)
	}
	return errors.New("a field has the wrong form")
}

func (in Input) job(r row, n int64) (jobs.New, error) {
	if r.Task == "" {
		r.Task = providers.Text
	}
	if r.Provider == "" {
		return jobs.New{}, errors.New("provider: is missing; name one in the row or with --provider")
	}
	kind, ok := in.Kind(r.Provider)
	if !ok {
		return jobs.New{}, fmt.Errorf("provider %s: is not configured", shorten(fmt.Sprintf("%q", r.Provider)))
	}
	can, ok := providers.CapabilitiesOf(kind)
	if !ok {
		return jobs.New{}, fmt.Errorf("provider %q: no such kind of provider as %q", r.Provider, kind)
	}
	if err := can.Check(r.Request); err != nil {
		return jobs.New{}, err
	}
	if r.Model == "" {
		r.Model = can.Tasks[r.Task].DefaultModel
		if in.DefaultModel != nil {
			r.Model = in.DefaultModel(r.Provider, r.Task)
		}
		if r.Model == "" {
			return jobs.New{}, fmt.Errorf("model: is missing, and provider %q has no default for %s: name one, or set providers.%s.models.%s in the configuration",
				r.Provider, r.Task, r.Provider, r.Task)
		}
	}
	switch r.Lane {
	case "", jobs.High, jobs.Default, jobs.Bulk:
	default:
		return jobs.New{}, fmt.Errorf("lane %s: must be high, default or bulk", shorten(fmt.Sprintf("%q", r.Lane)))
	}
	if len(r.CustomID) > 256 || strings.ContainsRune(r.CustomID, 0) {
		return jobs.New{}, errors.New("custom_id: must be at most 256 bytes, without NUL")
	}
	if len(r.Model) > 256 || strings.ContainsRune(r.Model, 0) {
		return jobs.New{}, errors.New("model: must be at most 256 bytes, without NUL")
	}
	job := jobs.New{
		ID: jobs.NewID(), Seq: n, CustomID: r.CustomID, Account: in.Account, Provider: r.Provider,
		Lane: r.Lane, Request: r.Request, OnUnknown: in.OnUnknown, RunAt: in.RunAt,
	}
	if r.RunAt != nil {
		job.RunAt = *r.RunAt
	}
	return job, nil
}

func typeName(t string) string {
	switch {
	case t == "string" || strings.HasSuffix(t, "Task") || strings.HasSuffix(t, "Lane"):
		return "a string"
	case strings.HasPrefix(t, "int"), t == "uint64":
		return "a whole number"
	case strings.HasPrefix(t, "float"), strings.HasPrefix(t, "*float"):
		return "a number"
	case t == "bool":
		return "true or false"
	case strings.HasPrefix(t, "[]"):
		return "a list"
	}
	return "an object"
}

func list(fields map[string]json.RawMessage) string {
	names := slices.Sorted(maps.Keys(fields))
	if len(names) > 8 {
		names = append(names[:8], "…")
	}
	return shorten(strings.Join(names, ", "))
}

// shorten bounds what of the input an error repeats.
func shorten(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// printable is err's text with a bound on its length, and without characters that
// would move a terminal's cursor.
func printable(err error) string {
	const most = 400
	s := err.Error()
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return utf8.RuneError
	}, s)
}

func firstInvalid(line []byte) int {
	for i := 0; i < len(line); {
		r, size := utf8.DecodeRune(line[i:])
		if r == utf8.RuneError && size == 1 {
			return i + 1
		}
		i += size
	}
	return len(line)
}
