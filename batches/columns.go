package batches

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"oneflow/batches/rows"
	"oneflow/providers/kinds"
)

// reason says why a row is refused, and how to keep its column where that was taken as an option.
func (in *decoder) reason(err error) string {
	reason := rows.Printable(err)
	name := strings.TrimPrefix(reason, `option "`)
	if end := strings.IndexAny(name, "\": .["); end >= 0 && in.told[name[:end]] && !in.ForPrograms {
		reason += "; to keep the column as your own, say " + keeping(name[:end])
	}
	return reason
}

// keeping is the flag by which a column stays the row's own.
func keeping(name string) string {
	if strings.ContainsAny(name, " \t\"'`$\\") {
		name = rows.Quoted(name)
	}
	return "--map " + name + "="
}

// looksLikeOption fails for a column that is no option, and that its author most
// likely took for one: what would be left out in silence costs money.
func (in *decoder) looksLikeOption(fields Fields, name string) error {
	unknown := "unknown field " + rows.Quoted(name) + ": "
	if !slices.Contains(vendorOptions(), name) {
		if option := nearest(name); option != "" {
			if in.ForPrograms {
				return fmt.Errorf(unknown+"did you mean %q?", option)
			}
			way := "name the prompt's column with --map prompt=…"
			if in.Template != nil {
				way = "say " + keeping(name)
			}
			return fmt.Errorf(unknown+"did you mean %q? To keep it as a column of your own, %s", option, way)
		}
		return nil
	}
	keep := "; to keep it as a column of your own, say " + keeping(name)
	if in.ForPrograms {
		keep = ""
	}
	provider := text(fields["provider"])
	if !fields.has("provider") {
		provider = text(in.Defaults["provider"])
	}
	if kind, ok := in.Kind(provider); ok {
		if can, ok := kinds.CapabilitiesOf(kind); ok && !can.Extra {
			return fmt.Errorf(unknown+"it is an option of other providers, and %s takes no fields of its own%s", rows.Shorten(provider), keep)
		}
	}
	return fmt.Errorf(unknown+`a provider's own options go into "extra"%s`, keep)
}

// vendorOptions are options of vendors' requests that rows have no name for, and that
// change the answer or its price.
func vendorOptions() []string {
	return []string{
		"top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias", "logprobs", "top_logprobs",
		"tools", "tool_choice", "parallel_tool_calls", "reasoning", "reasoning_effort", "thinking", "verbosity", "service_tier",
		"max_output_tokens", "stop_sequences", "generation_config", "safety_settings", "modalities", "web_search_options",
		"cfg_scale", "steps", "sampler", "style_preset", "image_size", "voice_id", "language_code", "moderation", "input_fidelity",
	}
}

// nearest is the option that a name is a slip of: another spelling, or one letter more,
// less or changed. Empty: there is none.
func nearest(name string) string {
	if len(name) > 64 {
		return ""
	}
	plain := func(s string) string {
		return strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(s))
	}
	for _, option := range FieldNames() {
		if plain(name) == plain(option) || len(name) >= 5 && len(option) >= 5 && oneApart(name, option) {
			return option
		}
	}
	return ""
}

// oneApart reports whether one letter more, less or changed, or two that are swapped,
// make b of a.
func oneApart(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	switch len(b) - len(a) {
	case 1:
		return a[i:] == b[i+1:]
	case 0:
		rest := a[min(i+1, len(a)):] == b[min(i+1, len(b)):]
		swapped := i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
		return rest || swapped
	}
	return false
}

// checkColumns fails where no row of a table can be a job, which is better told once
// than for each row: it has no prompt, or lacks a column that is mapped.
func (in Input) checkColumns(source rows.Source) error {
	columns := source.Columns()
	if columns == nil {
		return nil
	}
	there := func(name string) bool { return slices.Contains(columns, name) }
	refuse := func(reason string) error {
		return &rows.FormatError{LineError: rows.LineError{File: source.At(1, "").File, Reason: rows.Printable(errors.New(reason))}}
	}
	for _, field := range slices.Sorted(maps.Keys(in.Map)) {
		switch column := in.Map[field]; {
		case column == "" && !there(field):
			return refuse(fmt.Sprintf("--map %s=: there is no column of this name to keep; there are %s", field, names(columns)))
		case column != "" && !there(column):
			return refuse((&mapError{field, in.Map[field], names(columns)}).Error())
		}
	}
	if in.Template != nil {
		for _, name := range in.Template.names() {
			if !there(name) {
				return refuse(fmt.Sprintf("column %q of the template is not there; there are %s", name, names(columns)))
			}
		}
		return nil
	}
	prompts := []string{"prompt", "messages", "body", "params", "input", "file"}
	if _, ok := in.Map["prompt"]; ok || slices.ContainsFunc(prompts, there) || in.Map["messages"] != "" || in.Defaults["prompt"] != nil || in.Defaults["messages"] != nil {
		return nil
	}
	first := rows.Shorten(columns[0])
	return refuse(fmt.Sprintf("has no column prompt; there are %s: say which holds it, such as --map prompt=%s, or make it with --template", names(columns), first))
}

// names lists columns for an error.
func names(columns []string) string {
	if len(columns) > 8 {
		columns = append(slices.Clone(columns[:8]), "…")
	}
	return rows.Shorten(strings.Join(columns, ", "))
}
