package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"oneflow/artifacts"
	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/providers"
)

// batchCmd enqueues a file.
type batchCmd struct {
	File string `arg:"" help:"A file of prompts: JSON lines, OpenAI's or Anthropic's batch, CSV, plain lines or Parquet, also .gz and .zst; a folder of them, or of pictures, sounds or PDFs; s3://… or gs://…; - for stdin."`
	reading
	common
	BatchID string            `help:"The batch's id; default: a new one. With the id of an earlier run, only what is missing is added." placeholder:"ID"`
	Tag     map[string]string `help:"A name and a value of your own for the batch, shown in lists." placeholder:"NAME=VALUE" mapsep:"none"`
	Append  bool              `help:"Add the rows to a batch that was made of another file, or with other options. Without it, --batch-id takes the same file again only."`
	Strict  bool              `help:"Accept nothing if any line is bad."`
	Watch   bool              `aliases:"wait" help:"Follow the batch until it has finished; --wait is the same."`
	Combine int               `help:"Ask for N short prompts in one numbered request, 2 to 50, and split its answer; a row whose answer cannot be told from others is asked alone. For prompts without messages, tools and JSON." placeholder:"N"`
	Warm    bool              `help:"Where rows begin alike, have the first answered before the others are sent, so that the vendor's own cache has the beginning; of vendors that want it marked, the system prompt is marked. What that costs is on the first row's bill."`
	Then    []string          `help:"A step that follows: a YAML file with name, template and what else it needs; may be repeated. See docs/pipelines.md." placeholder:"FILE" sep:"none"`
	spending
	webhookFlags

	// first is the name of this step, and following are the others, of a pipeline's file;
	// compiled are all that follow, ready to be used.
	first     string
	following []stepFile
	compiled  []*batches.CompiledStep
}

// reading are the flags of which rows are read, and how.
type reading struct {
	Format   string            `help:"How the rows are written; default: what the file looks like. openai and anthropic are their vendors' batch files; files makes a row of each file of a folder, as is done by itself where all are pictures, sounds, films or PDFs." enum:"auto,jsonl,json,openai,anthropic,csv,lines,parquet,files" default:"auto" placeholder:"FORMAT"`
	Task     string            `help:"text, image, audio, video, embedding or transcription, for rows that name none." default:"text" enum:"text,image,audio,video,embedding,transcription"`
	Map      map[string]string `help:"Take a field from a column of another name, such as --map prompt=question; --map n= takes n from none, and keeps a column of this name as the row's own." placeholder:"FIELD=COLUMN"`
	Template string            `help:"Make the prompt of the row's columns: a file, or text such as 'Translate: {{text}}'; or what is asked of each file of a folder, such as 'Describe this picture'." placeholder:"FILE|TEXT"`
	Limit    positive          `help:"Take the first N rows only." placeholder:"N"`
	Sample   positive          `help:"Take N rows by chance: the same ones for the same --seed." placeholder:"N"`
	Seed     uint64            `help:"What decides about --sample." default:"1"`
}

// Run accepts the rows.
func (c *batchCmd) Run(s *session) error {
	if err := c.recognise(c.File); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return cli.Fail(cli.Usage, err)
	}
	cfg, err := s.LoadConfig()
	if err != nil {
		return err
	}
	if err := c.webhookFlags.check(cfg); err != nil {
		return err
	}
	src, err := c.source(s, false)
	if err != nil {
		return err
	}
	defer src.close()
	in, err := c.input(s, cfg, c.Task, jobs.Bulk)
	if err != nil {
		return err
	}
	files, closeFiles, err := folder(c.File)
	if err != nil {
		return cli.Fail(cli.Usage, err)
	}
	defer closeFiles()
	in.Files, in.Mark = files, c.Warm
	if c.Combine != 0 {
		in.Defaults["combine"] = json.RawMessage(strconv.Itoa(c.Combine))
		delete(in.Defaults, "cache_seconds") // of the configuration: an answer is kept for one request
		delete(in.Defaults, "cache_varied")
	}
	if err := c.shape(&in); err != nil {
		return cli.Fail(cli.Usage, err)
	}
	provider, err := c.choose(s, cfg, providers.Task(c.Task), c.BatchID)
	if err != nil {
		return err
	}
	in.Defaults["provider"] = quote(provider)
	q, err := newQuotes(s, cfg, c.asking)
	if err != nil {
		return err
	}

	id := c.BatchID
	if id == "" {
		id = batches.NewID(time.Now())
	}
	steps, compiled, err := c.steps(s, cfg, id)
	if err != nil {
		return err
	}
	if len(steps) > 0 {
		if err := c.checkSteps(in, src, steps[0].Name, compiled); err != nil {
			return err
		}
		c.Tag = maps.Clone(c.Tag)
		if c.Tag == nil {
			c.Tag = map[string]string{}
		}
		c.Tag[batches.PipelineTag] = id
		c.first, c.compiled = steps[0].Name, compiled
	}
	var columns columnNotes
	in.OnColumn = columns.add
	batch := jobs.Batch{ID: id, Steps: steps, Account: c.Account, Source: src.name, Origin: c.origin(), Options: c.kept(in), Append: c.Append, Tags: c.Tag, Webhook: c.Webhook, PerJob: c.perJob()}
	limit, nothing, err := c.approve(s, cfg, in, src, batch.ID, &columns)
	if nothing || err != nil {
		return err
	}
	if c.Strict {
		bad, err := c.allGood(in, src, s)
		if _, other := errors.AsType[*rows.FormatError](err); other {
			return c.refused(s, batches.Report{BatchID: batch.ID}, cli.Fail(cli.Usage, err))
		}
		if err != nil {
			return err
		}
		if bad > 0 {
			return c.refused(s, batches.Report{BatchID: batch.ID, Rejected: bad},
				cli.Fail(cli.Failure, fmt.Errorf("%s: nothing was accepted, because of --strict", cli.Things(int64(bad), "bad line"))))
		}
	}
	source, err := src.rows()
	if err != nil {
		return c.refused(s, batches.Report{BatchID: batch.ID}, unread(err))
	}
	defer func() { _ = source.Close() }()
	producer, err := s.producer(cfg)
	if err != nil {
		return err
	}
	if in.Least, err = s.counted(cfg, c.Account); err != nil {
		return err
	}
	progress := newTicker(s.Env.Err)
	q.clear = progress.clear
	bad := newBadLines(s.Env.Err, progress.clear)
	t := batches.Intake{
		Input: in, Batch: batch, Store: s.store, Producer: producer, Progress: progress.show, Reject: bad.add, Opened: limit,
		Accepting: func(taken []jobs.New) {
			progress.clear()
			columns.print(s.Env.Err)
			q.add(taken)
		},
	}
	if c.Warm {
		if err := c.warm(s, t, src); err != nil {
			return err
		}
	}
	rep, err := t.Take(s.Ctx, source)
	progress.clear()
	bad.total()
	if err != nil {
		return c.refused(s, rep, broken(rep, err))
	}
	q.total()
	q.anew()
	return c.finish(s, rep, src.name)
}

// refused prints the report for programs, which get one however the intake ended, and
// returns why.
func (c *batchCmd) refused(s *session, rep batches.Report, why error) error {
	if c.ForPrograms() {
		if err := cli.Line(s.Env.Out, rep); err != nil {
			return err
		}
	}
	return why
}

// broken explains what an intake that failed has left behind. A chunk whose commit
// was under way may be accepted too.
func broken(rep batches.Report, err error) error {
	there := cli.Count(int64(rep.Accepted + rep.Duplicates))
	other, format := errors.AsType[*rows.FormatError](err)
	kept, isOther := errors.AsType[*jobs.OtherBatchError](err)
	option, isOption := errors.AsType[*jobs.OtherOptionsError](err)
	switch {
	case format && rep.Accepted+rep.Duplicates == 0:
		return cli.Fail(cli.Usage, other) // no file of rows at all
	case format:
		err = cli.Fail(cli.Usage, other)
	case errors.Is(err, jobs.ErrOtherSource):
		return cli.Fail(cli.Usage, fmt.Errorf("batch %s has rows of another file, or other steps: nothing was accepted; "+
			"say --append to add these rows all the same, or use another --batch-id", rep.BatchID))
	case isOption:
		return cli.Fail(cli.Usage, fmt.Errorf("batch %s %s: nothing was accepted; say the same, use another --batch-id, "+
			"or say --append to add these rows all the same", rep.BatchID, made(option)))
	case isOther && rep.Accepted+rep.Duplicates == 0:
		return cli.Fail(cli.Usage, fmt.Errorf("batch %s has %s already, and this says %s: nothing was accepted; say the same, or use another --batch-id",
			rep.BatchID, cli.Printable(kept.Is), cli.Printable(kept.Given)))
	case errors.Is(err, jobs.ErrBatchRemoved):
		return cli.Fail(cli.Usage, fmt.Errorf("batch %s was removed, and its id is not used again, so that a rerun does not buy everything anew: nothing was accepted; "+
			"to run it all the same, use another --batch-id", rep.BatchID))
	case errors.Is(err, jobs.ErrBatchCancelled) && rep.Accepted+rep.Duplicates == 0:
		return cli.Fail(cli.Usage, fmt.Errorf("batch %s was cancelled and takes no rows: use another --batch-id", rep.BatchID))
	case errors.Is(err, jobs.ErrBatchCancelled):
		return cli.Fail(cli.Failure, fmt.Errorf("batch %s was cancelled while its rows were coming in: %s had been accepted and are cancelled, the rest was not read",
			rep.BatchID, there))
	case errors.Is(err, context.Canceled):
		return cli.Fail(cli.Interrupted, fmt.Errorf("interrupted: at least %s rows of batch %s are accepted; run the same command with --batch-id %s to add the rest",
			there, rep.BatchID, rep.BatchID))
	}
	if rep.Accepted+rep.Duplicates == 0 {
		return fmt.Errorf("%w (no row was accepted)", err)
	}
	return fmt.Errorf("%w (at least %s rows of batch %s are accepted; run the same command with --batch-id %s to add the rest)",
		err, there, rep.BatchID, rep.BatchID)
}

func (c *batchCmd) check() error {
	if c.BatchID != "" {
		if err := batches.CheckID(c.BatchID); err != nil {
			return fmt.Errorf("--batch-id: %w", err)
		}
	}
	if c.Warm && (c.At != "" || c.In != 0) {
		return errors.New("--warm: has the first rows answered now, and --at and --in have them wait: leave one of them out")
	}
	if c.Template != "" && c.Map["prompt"] != "" {
		return errors.New("--template: makes the prompt, which --map prompt=… takes from a column: leave one of them out")
	}
	switch {
	case c.Combine != 0 && (c.Combine < 2 || c.Combine > providers.MaxCombine):
		return fmt.Errorf("--combine %d: must be from 2 to %d prompts in one request", c.Combine, providers.MaxCombine)
	case c.Combine != 0 && c.Cache != nil && *c.Cache > 0:
		return errors.New("--combine: answers are kept for single requests: leave --cache out")
	}
	if err := cmp.Or(checkNoFolder(c.File), c.checkFiles()); err != nil {
		return err
	}
	known := append(batches.FieldNames(), "input", "file")
	for field, column := range c.Map {
		switch there := slices.Contains(known, field); {
		case there, column == "":
		case slices.Contains(known, column):
			return fmt.Errorf("--map %s=%s: is the wrong way round: --map %s=%s takes %s from the column %s", field, column, column, field, column, field)
		default:
			slices.Sort(known)
			return fmt.Errorf("--map %s=…: there is no such field; fields are %s", field, strings.Join(known, ", "))
		}
	}
	return nil
}

// folder opens the folder of the files that rows name: that of the input, or the input
// where it is a folder; for standard input and single jobs the working directory.
// Nothing outside of it can be read. Beside an object in a bucket, none is.
func folder(input string) (fs.FS, func(), error) {
	if artifacts.IsURL(input) {
		return nil, func() {}, nil
	}
	at := "."
	if input != "-" && input != "" {
		at = input
		if info, err := os.Stat(input); err != nil || !info.IsDir() {
			at = filepath.Dir(input)
		}
	}
	root, err := os.OpenRoot(at)
	if err != nil {
		return nil, nil, err
	}
	return namedFolder{root.FS(), at}, func() { _ = root.Close() }, nil
}

// namedFolder is a folder that errors can name.
type namedFolder struct {
	fs.FS
	at string
}

// String is its path.
func (f namedFolder) String() string { return f.at }

// interruptible is r until ctx ends, also while r has nothing to give. A file is
// never waited for and stays as it is.
func interruptible(ctx context.Context, r io.Reader) (io.Reader, func()) {
	if f, ok := r.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return r, func() {}
		}
	}
	out, in := io.Pipe()
	detach := context.AfterFunc(ctx, func() { _ = in.CloseWithError(ctx.Err()) })
	go func() {
		_, err := io.Copy(in, r)
		_ = in.CloseWithError(err)
	}()
	return out, func() { detach(); _ = out.Close() }
}

// finish tells what happened, and watches if asked to.
func (c *batchCmd) finish(s *session, rep batches.Report, source string) error {
	s.notDispatched(rep.Undelivered)
	empty := rep.Accepted+rep.Duplicates+rep.Rejected == 0
	if empty {
		fmt.Fprintf(s.Env.Err, "enqueue: %s held no rows: nothing was accepted\n", source)
	}
	if c.ForPrograms() {
		if err := cli.Line(s.Env.Out, rep); err != nil {
			return err
		}
	} else if !empty {
		rows := [][]string{
			{"batch", rep.BatchID},
			{"accepted", cli.Count(int64(rep.Accepted))},
			{"duplicates", cli.Count(int64(rep.Duplicates))},
			{"rejected", cli.Count(int64(rep.Rejected))},
		}
		if err := cli.Fields(s.Env.Out, rows); err != nil {
			return err
		}
	}
	var rejected error
	if rep.Rejected > 0 {
		rejected = cli.Fail(cli.Failure, fmt.Errorf("left out %s: mend what is wrong and run the same command with --batch-id %s to add them",
			cli.Things(int64(rep.Rejected), "bad line"), rep.BatchID))
	}
	if !c.Watch {
		if !c.ForPrograms() && rejected == nil && !empty {
			fmt.Fprintf(s.Env.Err, "follow it with: enqueue watch %s\n", rep.BatchID)
		}
		return rejected
	}
	p, err := watch(s, rep.BatchID)
	if errors.Is(err, jobs.ErrNotFound) && rep.Accepted+rep.Duplicates == 0 {
		return rejected // no row, no batch
	}
	if err != nil {
		return err
	}
	if !c.ForPrograms() {
		if err := show(s, s.store, c.OutputFlag, p); err != nil {
			return err
		}
	}
	if err := outcome(p); err != nil {
		return err
	}
	return rejected
}
