package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"oneflow/artifacts"
	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/internal/cli"
	"oneflow/jobs"
)

// source holds the files that a batch is made of, which can be read again.
type source struct {
	name  string
	files []rows.File
	// options say how to read, and what of it.
	options       rows.Options
	limit, sample int64
	seed          uint64
	close         func()
}

// source finds the files that the argument names. Standard input is kept in a
// temporary file if it is to be read twice: for certain, or because of the flags.
func (c *batchCmd) source(s *session, twice bool) (*source, error) {
	src := &source{limit: int64(c.Limit), sample: int64(c.Sample), seed: c.Seed, close: func() {}}
	switch c.Format {
	case "auto":
	case "openai":
		src.options.Format = rows.FormatJSONLines
	case "anthropic": // one of two, which the content tells
	default:
		src.options.Format = rows.Format(c.Format)
	}
	src.options.Columns = batches.TableColumns(c.Map)
	var once sync.Map // a file is told of once, also when it is read twice
	src.options.Recognised = func(name string, f rows.Format) {
		what := map[rows.Format]string{rows.FormatCSV: "CSV with a header", rows.FormatLines: "plain lines, each of them a prompt"}[f]
		if _, told := once.LoadOrStore(name, true); what != "" && c.Format == "auto" && !told {
			fmt.Fprintf(s.Env.Err, "enqueue: %s is read as %s; --format says otherwise\n", name, what)
		}
	}
	if c.File == "-" {
		return src, c.stdin(s, src, twice)
	}
	if artifacts.IsURL(c.File) {
		src.name = path.Base(strings.SplitN(c.File, "?", 2)[0])
		src.files = []rows.File{{Name: src.name, Open: func() (io.ReadCloser, error) { return artifacts.OpenObject(s.Ctx, c.File) }}}
		return src, nil
	}
	return src, c.path(src)
}

// sum is the hash of all of it.
func (s *source) sum() (string, error) {
	sum := sha256.New()
	for _, f := range s.files {
		from, err := f.Open()
		if err != nil {
			return "", unread(err)
		}
		_, err = io.Copy(sum, from)
		if err := errors.Join(err, from.Close()); err != nil {
			return "", unread(err)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// path makes a file, or the files of a folder, the source.
func (c *batchCmd) path(src *source) error {
	at, err := filepath.Abs(c.File) // . has a name, too
	if err != nil {
		return err
	}
	src.name = filepath.Base(at)
	if src.files, err = filesOf(c.File); err != nil {
		return err
	}
	if info, err := os.Stat(c.File); err != nil || !info.IsDir() {
		return nil //nolint:nilerr // reading it says what is wrong
	}
	if err := rows.Check(src.files, src.options); err != nil {
		return cli.Fail(cli.Usage, fmt.Errorf("%w (nothing was accepted; in a folder, files and folders whose names begin with _ are passed over; --format files makes a row of each file)", err))
	}
	return nil
}

// stdin makes standard input the source.
func (c *batchCmd) stdin(s *session, src *source, twice bool) error {
	src.name = "stdin"
	flags, err := c.readsTwice(s)
	if err != nil {
		return err
	}
	twice = twice || flags || c.Strict || c.Warm || c.Sample > 0
	if f, ok := s.Env.In.(io.ReadSeeker); ok && twice {
		if start, err := f.Seek(0, io.SeekCurrent); err == nil {
			src.files = []rows.File{{Name: src.name, Open: func() (io.ReadCloser, error) {
				_, err := f.Seek(start, io.SeekStart)
				return io.NopCloser(f), err
			}}}
			return nil
		}
	}
	in, stop := interruptible(s.Ctx, s.Env.In)
	src.close = stop
	if !twice {
		src.files = []rows.File{{Name: src.name, Open: func() (io.ReadCloser, error) { return asFile(in), nil }}}
		return nil
	}
	kept, err := rows.Spool(in)
	if err != nil {
		stop()
		if errors.Is(err, context.Canceled) {
			return cli.Fail(cli.Interrupted, errors.New("interrupted: nothing was accepted"))
		}
		return err
	}
	src.close = func() { stop(); _ = kept.Close() }
	src.files = []rows.File{{Name: src.name, Open: func() (io.ReadCloser, error) {
		_, err := kept.Seek(0, io.SeekStart)
		return keptOpen{kept}, err
	}}}
	return nil
}

// keptOpen is a file that is closed by somebody else.
type keptOpen struct{ *os.File }

// Close does nothing.
func (keptOpen) Close() error { return nil }

// asFile is r, which is closed by somebody else.
func asFile(r io.Reader) io.ReadCloser {
	if f, ok := r.(*os.File); ok {
		return keptOpen{f}
	}
	return io.NopCloser(r)
}

// rows opens the source from its start.
func (s *source) rows() (rows.Source, error) {
	all := func() rows.Source {
		from := rows.Files(s.files, s.options)
		if s.limit > 0 {
			from = rows.Limit(from, s.limit)
		}
		return from
	}
	if s.sample == 0 {
		return all(), nil
	}
	from := all()
	total, err := rows.Count(from)
	if err := errors.Join(err, from.Close()); err != nil {
		return nil, err
	}
	return rows.Sample(all(), total, s.sample, s.seed), nil
}

// shape sets what the flags say of each row.
func (c *batchCmd) shape(in *batches.Input) error {
	in.Map = c.Map
	switch c.Format {
	case "openai", "anthropic":
		in.Shape = batches.Shape(c.Format)
	case formatFiles:
		in.OfFiles = true
	}
	if c.Template == "" {
		return nil
	}
	text, files := c.Template, c.Format == formatFiles
	if data, err := os.ReadFile(c.Template); err == nil {
		text = strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	} else if files && !strings.ContainsAny(text, " \n") {
		return fmt.Errorf("--template %s: there is no such file, and a prompt has more words than one: %w", rows.Quoted(text), err)
	} else if !files && !strings.Contains(text, "{{") {
		return fmt.Errorf("--template %s: there is no such file, and no {{column}} in it: %w", rows.Quoted(text), err)
	}
	if files && !strings.Contains(text, "{{") { // the same is asked of each
		in.Defaults["prompt"] = quote(text)
		return nil
	}
	template, err := batches.ParseTemplate(text)
	if err != nil {
		return fmt.Errorf("--template: %w", err)
	}
	in.Template = template
	return nil
}

// allGood reads everything once without accepting anything, and returns how many
// lines are bad.
func (c *batchCmd) allGood(in batches.Input, src *source, s *session) (bad int, _ error) {
	from, err := src.rows()
	if err != nil {
		return 0, unread(err)
	}
	lines := newBadLines(s.Env.Err, func() {})
	err = in.Read(from, func(jobs.New) error { return s.Ctx.Err() }, lines.add)
	lines.total()
	bad = lines.n
	if errors.Is(err, context.Canceled) {
		err = cli.Fail(cli.Interrupted, errors.New("interrupted: nothing was accepted"))
	}
	return bad, errors.Join(err, from.Close())
}

// unread is the error of a source that could not be read at all.
func unread(err error) error {
	switch _, other := errors.AsType[*rows.FormatError](err); {
	case errors.Is(err, context.Canceled):
		return cli.Fail(cli.Interrupted, errors.New("interrupted: nothing was accepted"))
	case other || errors.Is(err, fs.ErrNotExist):
		return cli.Fail(cli.Usage, err)
	}
	return err
}

// columnNotes are columns of which nobody has been told: the rows' own, and those of a table
// that are taken as options. They come from the goroutine that reads.
type columnNotes struct {
	mu           sync.Mutex
	own, options []string
	told         bool
}

func (n *columnNotes) add(name string, option bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := &n.own
	if option {
		list = &n.options
	}
	if !slices.Contains(*list, name) { // the rows may be read twice
		*list = append(*list, name)
	}
}

// print tells of those that have come.
func (n *columnNotes) print(to io.Writer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.told || len(n.own)+len(n.options) == 0 {
		return
	}
	n.told = true
	list := func(names []string) string {
		if more := len(names) - 8; more > 0 {
			names = append(names[:8:8], fmt.Sprintf("and %d more", more))
		}
		return rows.Printable(errors.New(strings.Join(names, ", ")))
	}
	if len(n.own) > 0 {
		fmt.Fprintf(to, "enqueue: kept with the rows and not sent to a provider: %s\n", list(n.own))
	}
	if len(n.options) > 0 {
		fmt.Fprintf(to, "enqueue: columns that are taken as options: %s; to keep one as your own, say --map %s=\n", list(n.options), n.options[0])
	}
}
