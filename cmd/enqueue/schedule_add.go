package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"oneflow/artifacts"
	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/schedules"
)

// maxContent is the size that a file may have which is kept with its schedule.
const maxContent = 32 << 20

// scheduleAddCmd adds a schedule.
type scheduleAddCmd struct {
	Name    string            `arg:"" help:"Its name; the id of each of its batches is this and the time of the fire."`
	Cron    string            `help:"When it fires: minute, hour, day of month, month and day of week, such as '0 6 * * 1-5', or @daily." xor:"spec" required:"" placeholder:"EXPRESSION"`
	Every   time.Duration     `help:"Fire again and again after this time, such as 6h, beginning now." xor:"spec" required:"" placeholder:"DURATION"`
	Zone    string            `name:"tz" help:"The time zone of --cron." default:"UTC" placeholder:"ZONE"`
	Overlap schedules.Overlap `help:"When it is due and its last batch has not finished: skip this fire, or queue it until that has." enum:"skip,queue" default:"skip" placeholder:"WHAT"`
	Command []string          `arg:"" help:"After --: text, image, audio, video, embedding, transcription, batch or pipeline with what it takes. A file is kept as it is now; one of s3://…, gs://… or file://… is read at each fire."`
	cli.OutputFlag
}

// scheduled are the commands that a schedule may run.
type scheduled struct {
	Text  oneCmd   `cmd:""`
	Image oneCmd   `cmd:""`
	Audio oneCmd   `cmd:""`
	Video oneCmd   `cmd:""`
	Batch batchCmd `cmd:""`

	Embedding     oneCmd      `cmd:""`
	Transcription soundCmd    `cmd:""`
	Pipeline      pipelineCmd `cmd:""`
}

// Run checks all of it, and adds it.
func (c *scheduleAddCmd) Run(s *session) error {
	if err := schedules.CheckName(c.Name); err != nil {
		return cli.Fail(cli.Usage, err)
	}
	now := time.Now().Truncate(time.Second)
	spec := schedules.Spec{Cron: c.Cron, Zone: c.Zone, Every: c.Every.Truncate(time.Second), Anchor: now}
	if c.Every != 0 {
		spec.Zone = "UTC"
	}
	spec, err := spec.Parse()
	if err != nil {
		return cli.Fail(cli.Usage, err)
	}
	if first := c.Command[0]; slices.Contains(commandNames(), first) && !slices.Contains(schedulable(), first) {
		return cli.Fail(cli.Usage, fmt.Errorf("%s: is not for a schedule, which runs %s; nothing was added", first, strings.Join(schedulable(), ", ")))
	}
	var g scheduled
	parsed, done, err := cli.Program{Name: "enqueue", Description: "What a schedule runs."}.Parse(&g, c.Command, s.Env)
	if err != nil || done {
		return err
	}
	cfg, err := config.Load(s.ConfigPath, s.Env.Getenv)
	if err != nil {
		return cli.Fail(cli.Usage, err)
	}
	add := schedules.Schedule{Name: c.Name, Spec: spec, Overlap: c.Overlap, CreatedAt: now, Next: spec.Next(now)}
	one, batch := map[string]*oneCmd{"text": &g.Text, "image": &g.Image, "audio": &g.Audio, "video": &g.Video, "embedding": &g.Embedding}, &g.Batch
	s.task = parsed.Name
	if s.task == "pipeline" {
		if batch, err = g.Pipeline.batch(); err != nil {
			return err
		}
	}
	var kept batches.Kept
	of := batch.asking
	switch o := one[s.task]; {
	case o != nil:
		of = o.asking
		kept, err = o.schedule(s, cfg, &add)
	case s.task == "transcription":
		of = g.Transcription.asking
		kept, err = g.Transcription.schedule(s, cfg, &add)
	default:
		kept, err = batch.schedule(s, cfg, &add)
	}
	if err != nil {
		return err
	}
	n, bad, err := c.check(s, cfg, of, kept, add)
	if err != nil {
		return err
	}
	if bad > 0 && batch.Strict {
		return cli.Fail(cli.Failure, fmt.Errorf("%s: nothing was added, because of --strict", cli.Things(bad, "bad line")))
	}
	if add.Input, err = json.Marshal(kept); err != nil {
		return err
	}
	db, err := s.db()
	if err != nil {
		return err
	}
	if err := db.AddSchedule(s.Ctx, add); errors.Is(err, schedules.ErrExists) {
		return cli.Fail(cli.Usage, fmt.Errorf("%w: remove it first (enqueue schedule rm %s), or take another name", err, c.Name))
	} else if err != nil {
		return err
	}
	l := add.Listed()
	if c.ForPrograms() {
		err = c.Write(s.Env.Out, l)
	} else {
		err = c.printAdded(s, l, n, add)
	}
	if err == nil && bad > 0 && kept.URL == "" {
		err = cli.Fail(cli.Failure, fmt.Errorf("the schedule is added, and each fire leaves out %s: mend what is wrong, remove the schedule (enqueue schedule rm %s) and add it again", cli.Things(bad, "bad line"), c.Name))
	}
	return err
}

// printAdded tells people of what was added.
func (c *scheduleAddCmd) printAdded(s *session, l schedules.Listed, n string, add schedules.Schedule) error {
	return cli.Fields(s.Env.Out, [][]string{
		{"schedule", c.Name},
		{"when", specOf(l)},
		{"overlap", string(l.Overlap)},
		{"jobs", n},
		{"fires", firesOf(l)},
		{"batches", schedules.BatchID(c.Name, add.Next) + " and so on"},
	})
}

// check reads its rows as a fire will, so that what is wrong is said now, and says how
// many there are, and how many are bad. Those behind a URL may be others by then, and may not
// be there yet: where they cannot be read it says so, and goes on.
func (c *scheduleAddCmd) check(s *session, cfg config.Config, of asking, kept batches.Kept, add schedules.Schedule) (jobs string, bad int64, _ error) {
	q, err := newQuotes(s, cfg, of)
	if err != nil {
		return "", 0, err
	}
	base, n := cli.Input(cfg), int64(0)
	lines, columns := newBadLines(s.Env.Err, func() {}), columnNotes{}
	base.OnModel, base.OnColumn = s.checkModels(cfg), columns.add
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(add.Content)), nil }
	var away error
	if kept.URL != "" {
		if err := artifacts.CheckObject(kept.URL); err != nil {
			return "", 0, cli.Fail(cli.Usage, fmt.Errorf("nothing was added, since no fire could read this: %w", err))
		}
		open = func() (from io.ReadCloser, err error) {
			from, away = artifacts.OpenObject(s.Ctx, kept.URL)
			return from, away
		}
	}
	steps, err := kept.Following()
	if err != nil {
		return "", 0, err
	}
	err = kept.Check(base, open, c.counting(s, q, base, kept, steps, &n), func(e *rows.LineError) { bad++; lines.add(e) })
	columns.print(s.Env.Err)
	lines.total()
	switch {
	case s.Ctx.Err() != nil:
		return "", bad, cli.Fail(cli.Interrupted, errors.New("interrupted: nothing was added"))
	case away != nil:
		fmt.Fprintf(s.Env.Err, "enqueue: cannot be read now: %s. Each fire reads it anew, on a worker, and fails where that is so then\n", cli.Printable(away.Error()))
		return "as many rows as " + cli.Printable(kept.URL) + " has at each fire", 0, nil //nolint:nilerr // it is told of, and each fire reads it anew
	case err != nil:
		return "", bad, cli.Fail(cli.Usage, fmt.Errorf("nothing was added, since no fire could run this: %w", err))
	case n == 0 && bad > 0:
		return "", bad, cli.Fail(cli.Usage, fmt.Errorf("none of the rows of %s can be a job: nothing was added", add.Source))
	case kept.URL != "":
		return fmt.Sprintf("as many rows as %s has at each fire, now %s", cli.Printable(kept.URL), cli.Count(n)), bad, nil
	case n == 0:
		return "", bad, cli.Fail(cli.Usage, fmt.Errorf("%s holds no rows: nothing was added", add.Source))
	}
	q.total()
	q.anew()
	return cli.Count(n), bad, nil
}

// counting counts the rows, and checks the steps by the first.
func (c *scheduleAddCmd) counting(s *session, q *quotes, base batches.Input, kept batches.Kept, steps []*batches.CompiledStep, n *int64) func(jobs.New) error {
	return func(job jobs.New) error {
		if *n++; *n == 1 && len(steps) > 0 {
			if err := checkRow(base, job, kept.Steps[0].Name, steps); err != nil {
				return err
			}
		}
		q.add([]jobs.New{job})
		return s.Ctx.Err()
	}
}

// schedulable are the commands that a schedule may run, and commandNames are all that bring jobs in.
func schedulable() []string {
	return []string{"text", "image", "audio", "video", "embedding", "transcription", "batch", "pipeline"}
}

func commandNames() []string { return append(schedulable(), "compare", "schedule") }

// schedule keeps the sound.
func (c *soundCmd) schedule(s *session, cfg config.Config, add *schedules.Schedule) (batches.Kept, error) {
	if c.Wait {
		return batches.Kept{}, cli.Fail(cli.Usage, errors.New("--wait: nobody waits for a schedule: leave it out"))
	}
	kept, err := c.keep(s, cfg, s.task, jobs.Default, add)
	if err != nil {
		return kept, err
	}
	in, err := c.input(s, cfg, s.task, jobs.Default)
	if err != nil {
		return kept, err
	}
	files, closeFiles, err := folder(c.File)
	if err != nil {
		return kept, cli.Fail(cli.Usage, err)
	}
	defer closeFiles()
	in.Files = files
	fields := maps.Clone(kept.Defaults)
	fields["file"] = quote(filepath.Base(c.File))
	job, err := in.One(fields)
	if err != nil {
		return kept, cli.Fail(cli.Usage, err)
	}
	kept.Name, kept.Format, add.Source = filepath.Base(c.File), rows.FormatJSONLines, filepath.Base(c.File)
	add.Content, err = json.Marshal(map[string]any{"messages": job.Request.Messages})
	return kept, err
}

// schedule makes a schedule's only row of a prompt.
func (c *oneCmd) schedule(s *session, cfg config.Config, add *schedules.Schedule) (batches.Kept, error) {
	if c.Wait {
		return batches.Kept{}, cli.Fail(cli.Usage, errors.New("--wait: nobody waits for a schedule: leave it out"))
	}
	kept, err := c.keep(s, cfg, s.task, jobs.Default, add)
	if err != nil {
		return kept, err
	}
	prompt, err := c.prompt(s)
	if err != nil {
		return kept, err
	}
	kept.Name, kept.Format, add.Source = "the prompt", rows.FormatJSONLines, s.task
	add.Content, err = json.Marshal(map[string]string{"prompt": prompt})
	return kept, err
}

// schedule keeps a file, or the URL of one.
func (c *batchCmd) schedule(s *session, cfg config.Config, add *schedules.Schedule) (batches.Kept, error) {
	for flag, given := range map[string]bool{
		"--watch": c.Watch, "--dry-run": c.DryRun, "--max-cost": c.MaxCost != "", "--sample": c.Sample != 0, "--append": c.Append, "--batch-id": c.BatchID != "", "--budget": c.Budget != "", "--warm": c.Warm,
	} {
		if given {
			return batches.Kept{}, cli.Fail(cli.Usage, fmt.Errorf("%s: is not for a schedule: leave it out (a budget of a tag, `monitor budget set --tag`, caps what its batches cost)", flag))
		}
	}
	if info, err := os.Stat(c.File); c.Format == formatFiles || err == nil && info.IsDir() {
		what := "--format files: is not for a schedule"
		if c.Format != formatFiles {
			what = c.File + " is a folder, and not for a schedule"
		}
		return batches.Kept{}, cli.Fail(cli.Usage, fmt.Errorf("%s, which keeps one file of rows, or reads one at a URL: for the files that a folder has at each fire, have cron run `enqueue batch` on the machine that has it", what))
	}
	if err := c.check(); err != nil {
		return batches.Kept{}, cli.Fail(cli.Usage, err)
	}
	kept, err := c.keep(s, cfg, c.Task, jobs.Bulk, add)
	if err != nil {
		return kept, err
	}
	if err := c.webhookFlags.check(cfg); err != nil {
		return kept, err
	}
	if kept.Steps, err = c.keptSteps(s, cfg, *add); err != nil {
		return kept, err
	}
	kept.Map, kept.Limit, add.Tags = c.Map, int64(c.Limit), c.Tag
	kept.Webhook, kept.PerJob = c.Webhook, c.perJob()
	switch c.Format {
	case "auto":
	case "openai", "anthropic":
		kept.Shape = batches.Shape(c.Format)
	default:
		kept.Format = rows.Format(c.Format)
	}
	var in batches.Input
	if err := c.shape(&in); err != nil {
		return kept, cli.Fail(cli.Usage, err)
	}
	if in.Template != nil {
		kept.Template = in.Template.String()
	}
	if artifacts.IsURL(c.File) {
		kept.URL, kept.Name, add.Source = c.File, path.Base(strings.SplitN(c.File, "?", 2)[0]), path.Base(strings.SplitN(c.File, "?", 2)[0])
		return kept, nil
	}
	kept.Name = filepath.Base(c.File)
	if c.File == "-" {
		kept.Name = "stdin"
	}
	add.Source = kept.Name
	add.Content, err = c.content(s)
	return kept, err
}

// keptSteps are the steps that follow each fire's batch; none where nothing does.
func (c *batchCmd) keptSteps(s *session, cfg config.Config, add schedules.Schedule) (kept []batches.KeptStep, err error) {
	steps, _, err := c.steps(s, cfg, schedules.BatchID(add.Name, add.Next))
	for _, step := range steps {
		kept = append(kept, batches.KeptStep{Name: step.Name, Definition: step.Definition})
	}
	return kept, err
}

// content reads the file that is kept.
func (c *batchCmd) content(s *session) ([]byte, error) {
	in, stop := interruptible(s.Ctx, s.Env.In)
	defer stop()
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return nil, cli.Fail(cli.Usage, err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxContent+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxContent:
		return nil, cli.Fail(cli.Usage, fmt.Errorf("%s is larger than the %d MiB that are kept with a schedule: put it into a bucket and give its URL", c.File, maxContent>>20))
	}
	return data, nil
}

// keep holds what the common flags say.
func (c common) keep(s *session, cfg config.Config, task string, lane jobs.Lane, add *schedules.Schedule) (batches.Kept, error) {
	if c.In != 0 || c.At != "" {
		return batches.Kept{}, cli.Fail(cli.Usage, errors.New("--in, --at: the schedule says when it runs: leave them out"))
	}
	var within time.Duration
	if c.CompleteBy != "" {
		var err error
		if within, err = config.ParseDuration(c.CompleteBy); err != nil || within <= 0 {
			return batches.Kept{}, cli.Fail(cli.Usage, fmt.Errorf("--complete-by %.40q: must be a duration here, such as 6h, counted from each fire", c.CompleteBy))
		}
		c.CompleteBy = ""
	}
	in, err := c.input(s, cfg, task, lane)
	if err != nil {
		return batches.Kept{}, err
	}
	provider, err := c.choose(s, cfg, providers.Task(task), "")
	if err != nil {
		return batches.Kept{}, err
	}
	in.Defaults["provider"] = quote(provider)
	add.Account = c.Account
	return batches.Kept{Defaults: in.Defaults, OnUnknown: c.OnUnknown, Within: within}, nil
}
