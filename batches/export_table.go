package batches

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"oneflow/providers"
)

// ResultColumns lists the columns of a result that a table may have. The names of
// money are its unit.
func ResultColumns() []string {
	names := make([]string, 0, 20)
	for _, c := range resultColumns() {
		names = append(names, c.Name)
	}
	return names
}

// defaultColumns are the columns of a result that a table has where nobody says.
func defaultColumns() []string {
	return []string{"prompt", "text", "state", "error", "provider", "model", "input_tokens", "output_tokens", "cost_usd", "latency_ms", "files"}
}

// columnsOf are the default columns, and the vectors or all answers where the jobs have such.
func columnsOf(ctx context.Context, s ExportStore, id string) ([]string, error) {
	with := defaultColumns()
	holds, err := s.Holds(ctx, id)
	if holds.Vectors {
		with = slices.Insert(with, 2, "embedding")
	}
	if holds.Answers {
		with = slices.Insert(with, 2, "answers")
	}
	return with, err
}

// tableColumn is a column of a table, and its value of a record: nil, a string, an
// int64, a float64, a bool, a []float32, or JSON.
type tableColumn struct {
	Column
	value func(*Record) any
}

func resultColumns() []tableColumn {
	of := func(name, kind string, value func(*Record) any) tableColumn {
		return tableColumn{Column{name, kind}, value}
	}
	usage := func(r *Record) (u providers.Usage) {
		_ = json.Unmarshal(r.usage(), &u) // what cannot be read is not known
		return u
	}
	return []tableColumn{
		of("job_id", "string", func(r *Record) any { return r.ID }),
		of("row", "whole", func(r *Record) any { return r.Row }),
		of("prompt", "string", func(r *Record) any { return orNothing(r.Prompt) }),
		of("text", "string", func(r *Record) any { return orNothing(r.Text) }),
		of("answers", "mixed", func(r *Record) any {
			all := r.Answers()
			if all == nil {
				return nil
			}
			return plain(all)
		}),
		of("embedding", "vector", func(r *Record) any {
			if r.Vector == nil {
				return nil
			}
			return r.Vector
		}),
		of("finish_reason", "string", func(r *Record) any { return orNothing(r.line("").OneFlow.FinishReason) }),
		of("state", "string", func(r *Record) any { return string(r.State) }),
		of("error", "string", func(r *Record) any {
			f := r.failure()
			if f == nil {
				return nil
			}
			return strings.TrimSuffix(f.Code+": "+f.Message, ": ")
		}),
		of("provider", "string", func(r *Record) any { return r.Provider }),
		of("model", "string", func(r *Record) any { return r.Model }),
		of("input_tokens", "whole", func(r *Record) any {
			u := usage(r)
			return u.InputTokens + u.CachedInputTokens + u.CacheWriteTokens
		}),
		of("output_tokens", "whole", func(r *Record) any { return usage(r).OutputTokens }),
		of("cost_usd", "number", func(r *Record) any {
			if r.Unpriced {
				return nil
			}
			return json.Number(r.Cost.String())
		}),
		of("charge_usd", "number", func(r *Record) any { return json.Number(r.Charge.String()) }),
		of("simulated_cost_usd", "number", func(r *Record) any { return json.Number(r.Simulated.String()) }),
		of("latency_ms", "whole", func(r *Record) any { return r.LatencyMS }),
		of("attempts", "whole", func(r *Record) any { return int64(r.Calls) }),
		of("files", "string", func(r *Record) any {
			var list []string
			for _, a := range r.artifacts() {
				if a.File != "" {
					list = append(list, a.File)
				} else {
					list = append(list, a.URL)
				}
			}
			return orNothing(strings.Join(list, " "))
		}),
	}
}

// plain is a list of texts as JSON, with < and > as they are.
func plain(texts []string) any {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(texts) //nolint:errchkjson // strings always encode
	return json.RawMessage(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

func orNothing(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// tableColumns are those of a table: the row's id, its own in the order of the input,
// and those of the result. A column of the row's own keeps its name; one of the result
// of the same name is called result_NAME.
func tableColumns(own []Column, with []string) []tableColumn {
	columns := []tableColumn{{Column{"custom_id", "string"}, func(r *Record) any { return orNothing(r.CustomID) }}}
	taken := map[string]bool{"custom_id": true}
	for _, c := range own {
		columns = append(columns, tableColumn{c, nil})
		taken[c.Name] = true
	}
	all := resultColumns()
	for _, name := range with {
		if i := slices.IndexFunc(all, func(c tableColumn) bool { return c.Name == name }); i >= 0 {
			c := all[i]
			for taken[c.Name] {
				c.Name = "result_" + c.Name
			}
			taken[c.Name] = true
			columns = append(columns, c)
		}
	}
	return columns
}

// rowValues returns a record's values by column.
func rowValues(columns []tableColumn, r *Record) ([]any, error) {
	var own map[string]json.RawMessage
	if len(r.Own) > 0 {
		if err := json.Unmarshal(r.Own, &own); err != nil {
			return nil, fmt.Errorf("row %d: its own columns: %w", r.Row, err)
		}
	}
	values := make([]any, len(columns))
	for i, c := range columns {
		switch raw, ok := own[c.Name]; {
		case c.value != nil:
			values[i] = c.value(r)
		case ok && string(raw) != "null":
			values[i] = raw
		}
	}
	return values, nil
}

// cell is a value as text: a string as it is, all else as JSON.
func cell(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	case int64:
		return strconv.FormatInt(v, 10)
	case json.RawMessage:
		return text(v)
	case []float32:
		data, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		return string(data)
	}
	return fmt.Sprint(value)
}

// newTable returns a sink of a table.
func newTable(w io.Writer, f Format, excel Decimal, columns []tableColumn) sink {
	switch f {
	case FormatCSV:
		return newCSVTable(w, columns, excel)
	case FormatParquet:
		return newParquetTable(w, columns)
	case FormatJSONL, FormatOpenAI, FormatRaw, FormatAnthropic:
	}
	return &jsonTable{columns: columns, w: bufio.NewWriterSize(w, 256<<10)}
}

// jsonTable writes an object for each record.
type jsonTable struct {
	columns []tableColumn
	w       *bufio.Writer
	line    bytes.Buffer
}

func (t *jsonTable) write(r Record) error {
	values, err := rowValues(t.columns, &r)
	if err != nil {
		return err
	}
	t.line.Reset()
	encode := json.NewEncoder(&t.line)
	encode.SetEscapeHTML(false)
	for i, value := range values {
		sep := byte(',')
		if i == 0 {
			sep = '{'
		}
		t.line.WriteByte(sep)
		if err := encode.Encode(t.columns[i].Name); err != nil {
			return err
		}
		t.line.Truncate(t.line.Len() - 1)
		t.line.WriteByte(':')
		if err := encode.Encode(value); err != nil {
			return err
		}
		t.line.Truncate(t.line.Len() - 1)
	}
	t.line.WriteString("}\n")
	_, err = t.w.Write(t.line.Bytes())
	return err
}

func (t *jsonTable) close() error { return t.w.Flush() }
