package batches

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"oneflow/jobs"
)

// Format is the shape of an export.
type Format string

// The formats of exports. The first three have a line of JSON for each job, and
// beside what they are named for an object called oneflow, which is the same in all.
const (
	FormatOpenAI    Format = "openai"    // OpenAI's batch output, whoever answered
	FormatRaw       Format = "raw"       // the same frame, with the vendor's own body
	FormatAnthropic Format = "anthropic" // Anthropic's batch results, whoever answered
	FormatJSONL     Format = "jsonl"     // an object with the row's columns and the result
	FormatCSV       Format = "csv"       // a table of the same, with a header
	FormatParquet   Format = "parquet"   // a table of the same
)

// Export says what of a batch or a job is written, and how.
type Export struct {
	// Format is FormatOpenAI where it is empty.
	Format Format
	// With are the result's columns in FormatJSONL, FormatCSV and FormatParquet, of
	// ResultColumns; empty: the usual ones. The row's own columns are always there.
	With []string
	// Excel has FormatCSV written as Excel opens it by itself; empty: as programs read it.
	Excel Decimal
	// Failed and Succeeded leave out all other jobs: Failed those that have finished
	// without a result and that nobody cancelled.
	Failed, Succeeded bool
	// From and Until leave out all jobs but those that ended from From on and before
	// Until; a zero Until leaves out none.
	From, Until time.Time
	// Errors takes the jobs that have finished without a result, in the same format.
	// Nil: they stand among the others.
	Errors io.Writer
	// Keep is called for each record with artefacts before it is written, and may
	// change where they are. Nil: they stay where they are.
	Keep func(*Record) error
}

// Exported counts what was written.
type Exported struct {
	// Lines are rows, of which Errors went to another writer.
	Lines, Errors int64
	// Unfinished is the number of jobs that have not finished, whether they are written or not.
	Unfinished int64
}

// Write writes a row for each job, in input order. A batch may still be running: jobs
// that have not finished have no result.
func (e Export) Write(ctx context.Context, s ExportStore, id string, w io.Writer) (n Exported, err error) {
	main, failures, err := e.sinks(ctx, s, id, w)
	if err == nil {
		err = s.Export(ctx, id, func(r Record) error { return e.write(r, &n, main, failures) })
	}
	if err == nil {
		err = main.close()
	}
	if err == nil && failures != nil {
		err = failures.close()
	}
	if err != nil {
		return n, fmt.Errorf("export %s: %w", id, err)
	}
	return n, nil
}

// write writes one record where it belongs, if it is asked for.
func (e Export) write(r Record, n *Exported, main, failures sink) error {
	if !r.State.Finished() {
		n.Unfinished++
	}
	if !e.Until.IsZero() && (r.FinishedAt.IsZero() || r.FinishedAt.Before(e.From) || !r.FinishedAt.Before(e.Until)) {
		return nil
	}
	failed := r.State.Finished() && r.State != jobs.Succeeded && r.State != jobs.Cancelled
	if e.Failed && !failed || e.Succeeded && r.State != jobs.Succeeded {
		return nil
	}
	if e.Keep != nil && len(r.Artifacts) > 0 {
		if err := e.Keep(&r); err != nil {
			return err
		}
	}
	n.Lines++
	if failures != nil && r.State.Finished() && r.State != jobs.Succeeded {
		n.Errors++
		return failures.write(r)
	}
	return main.write(r)
}

// sink writes records in one format.
type sink interface {
	write(r Record) error
	// close writes what is still held.
	close() error
}

// sinks returns where records go, and where those of failed jobs go; nil: there, too.
func (e Export) sinks(ctx context.Context, s ExportStore, id string, w io.Writer) (main, failures sink, err error) {
	open := func(w io.Writer) sink { return newLines(w, e.Format) }
	switch e.Format {
	case FormatJSONL, FormatCSV, FormatParquet:
		own, err := s.OwnColumns(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		with := e.With
		if len(with) == 0 {
			if with, err = columnsOf(ctx, s, id); err != nil {
				return nil, nil, err
			}
		}
		columns := tableColumns(own, with)
		open = func(w io.Writer) sink { return newTable(w, e.Format, e.Excel, columns) }
	case "", FormatOpenAI, FormatRaw, FormatAnthropic:
	}
	if e.Errors != nil {
		failures = open(e.Errors)
	}
	return open(w), failures, nil
}

// lines is a sink that writes a line of JSON for each record.
type lines struct {
	format Format
	w      *bufio.Writer
	encode *json.Encoder
}

func newLines(w io.Writer, f Format) *lines {
	buffered := bufio.NewWriterSize(w, 256<<10)
	l := &lines{f, buffered, json.NewEncoder(buffered)}
	l.encode.SetEscapeHTML(false)
	return l
}

func (l *lines) write(r Record) error {
	if l.format == FormatAnthropic {
		return l.encode.Encode(r.anthropic())
	}
	return l.encode.Encode(r.line(l.format))
}

func (l *lines) close() error { return l.w.Flush() }
