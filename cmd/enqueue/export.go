package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"oneflow/artifacts"
	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/internal/cli"
)

// exportCmd writes results.
type exportCmd struct {
	ID        string          `arg:"" help:"A batch or a job."`
	Format    batches.Format  `help:"openai (OpenAI's batch output, whoever answered), anthropic (its batch results), raw (the vendor's own body), or the input's columns with the results beside: jsonl, csv, parquet. Default: csv or parquet where --out is called so, else openai." enum:"openai,anthropic,raw,jsonl,csv,parquet," default:"" placeholder:"FORMAT"`
	With      []string        `help:"The results' columns in jsonl, csv and parquet, such as text,cost_usd; default: prompt, text, state, error, provider, model, tokens, cost, latency and files." placeholder:"COLUMN,…"`
	Excel     batches.Decimal `help:"Write CSV that Excel opens by itself, where decimals follow a point or a comma: with a byte order mark, and for comma with ; between cells." enum:"point,comma," default:"" placeholder:"point|comma"`
	Failed    bool            `help:"Only jobs that failed." xor:"which"`
	Succeeded bool            `help:"Only jobs that succeeded." xor:"which"`
	SinceLast bool            `help:"Only jobs that have ended since the last export with this flag; give each a file of its own. After an export that failed, the same jobs come again." xor:"which"`
	Out       string          `help:"The file to write, also s3://… or gs://…; - for stdout." default:"-" placeholder:"FILE"`
	Errors    string          `help:"Write jobs without a result into this file instead." placeholder:"FILE"`
	Files     string          `help:"Copy pictures and sound into this folder, named by custom_id." placeholder:"FOLDER"`
}

// Run writes them. A file is complete or not there at all.
func (c *exportCmd) Run(s *session) error {
	if c.Format == "" && c.Excel != "" {
		c.Format = batches.FormatCSV
	}
	if c.Format == "" {
		c.Format = "openai"
		switch ext := strings.ToLower(strings.TrimPrefix(path.Ext(c.Out), ".")); ext {
		case "csv", "parquet":
			c.Format = batches.Format(ext)
		}
	}
	export, err := c.export(s.Ctx)
	if err != nil {
		return cli.Fail(cli.Usage, err)
	}
	db, err := s.db()
	if err != nil {
		return err
	}
	if c.SinceLast {
		if export.From, export.Until, err = db.ExportWindow(s.Ctx, c.ID); err != nil {
			return err
		}
	}
	_, there := os.Stat(c.Out)
	var n batches.Exported
	err = into(s, c.Out, func(w io.Writer) (err error) {
		if c.Errors == "" {
			n, err = export.Write(s.Ctx, db, c.ID, w)
			return err
		}
		return into(s, c.Errors, func(failures io.Writer) (err error) {
			export.Errors = failures
			n, err = export.Write(s.Ctx, db, c.ID, w)
			return err
		})
	})
	if err != nil {
		return err
	}
	if c.SinceLast {
		ok, err := db.MarkExported(s.Ctx, c.ID, export.From, export.Until)
		if err != nil {
			return fmt.Errorf("%w: the same jobs come again with the next --since-last", err)
		}
		if !ok {
			return fmt.Errorf("%s: another export with --since-last was faster and has some of these jobs, too: they are in both", c.ID)
		}
	}
	if c.Out != "-" {
		instead := ""
		if there == nil {
			instead = ", in place of the file that was there"
		}
		fmt.Fprintf(s.Env.Err, "wrote %s lines to %s%s\n", cli.Count(n.Lines-n.Errors), c.Out, instead)
	}
	if c.Errors != "" {
		fmt.Fprintf(s.Env.Err, "wrote %s jobs without a result to %s\n", cli.Count(n.Errors), c.Errors)
	}
	if n.Unfinished > 0 && !c.SinceLast {
		fmt.Fprintf(s.Env.Err, "enqueue: %s jobs have not finished and have no result yet: export again after `enqueue watch %s`\n", cli.Count(n.Unfinished), c.ID)
	}
	return nil
}

// export checks the flags.
func (c *exportCmd) export(ctx context.Context) (batches.Export, error) {
	e := batches.Export{Format: c.Format, Excel: c.Excel, With: c.With, Failed: c.Failed, Succeeded: c.Succeeded}
	table := c.Format == batches.FormatJSONL || c.Format == batches.FormatCSV || c.Format == batches.FormatParquet
	known := batches.ResultColumns()
	for _, name := range c.With {
		if !table {
			return e, fmt.Errorf("--with: is for --format jsonl, csv and parquet; %s has everything", c.Format)
		}
		if !slices.Contains(known, name) {
			return e, fmt.Errorf("--with %s: there is no such column; there are %s, and the input's own, which are always written", name, strings.Join(known, ", "))
		}
	}
	if c.Excel != "" && c.Format != batches.FormatCSV {
		return e, fmt.Errorf("--excel: is about --format csv, and this is %s", c.Format)
	}
	if c.Errors == c.Out && c.Errors != "" {
		return e, errors.New("--errors: must be another file than --out")
	}
	if c.Files != "" {
		if err := os.MkdirAll(c.Files, 0o700); err != nil {
			return e, fmt.Errorf("--files: %w", err)
		}
		e.Keep = func(r *batches.Record) error { return keepFiles(ctx, c.Files, r) }
	}
	return e, nil
}

// into writes stdout, a file or an object, which is complete or not there at all.
func into(s *session, name string, write func(io.Writer) error) error {
	switch {
	case name == "-":
		return write(s.Env.Out)
	case !artifacts.IsURL(name):
		return cli.WriteFile(name, write)
	}
	temp, err := rows.TempFile()
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() { _ = temp.Close() }()
	if err := write(temp); err != nil {
		return err
	}
	size, err := temp.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = temp.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return artifacts.WriteObject(s.Ctx, name, temp, size, "application/octet-stream")
}

// keepFiles copies a record's artefacts into a folder.
func keepFiles(ctx context.Context, folder string, r *batches.Record) error {
	kept := slices.Clone(r.Artifacts)
	for i, a := range kept {
		name := fileName(r)
		if i > 0 {
			name += fmt.Sprintf("-%d", i+1)
		}
		to := filepath.Join(folder, name+path.Ext(a.URL))
		from, err := artifacts.OpenObject(ctx, a.URL)
		if err != nil {
			return fmt.Errorf("row %d: %w", r.Row, err)
		}
		err = cli.WriteFile(to, func(w io.Writer) error {
			_, err := io.Copy(w, from)
			return err
		})
		if err := errors.Join(err, from.Close()); err != nil {
			return fmt.Errorf("row %d: %w", r.Row, err)
		}
		kept[i].File = to
	}
	r.Artifacts = kept
	return nil
}

// fileName is a record's custom_id as a file's name, else its row. One that has to be
// changed for that ends with the row, too, so that no two are the same.
func fileName(r *batches.Record) string {
	row := fmt.Sprintf("%06d", r.Row)
	if r.CustomID == "" {
		return row
	}
	const most = 100
	name := strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.ContainsRune("._-", c) {
			return c
		}
		return '_'
	}, r.CustomID)
	name = name[:min(len(name), most)]
	if name != r.CustomID || strings.HasPrefix(name, ".") {
		name = "_" + name + "-" + row
	}
	return name
}
