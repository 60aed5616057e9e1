package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"oneflow/batches"
	"oneflow/batches/rows"
	"oneflow/billing"
	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/providers"
)

// compareCmd compares models: the same rows go to each of them.
type compareCmd struct {
	File  string   `arg:"" optional:"" help:"A file of prompts, as batch takes it."`
	With  []string `help:"The models to compare, such as openai/gpt-6-luna,anthropic/claude-haiku-5-5: two to eight. A provider alone stands for its default model." placeholder:"PROVIDER/MODEL,…"`
	Judge string   `help:"Then ask this model, row by row, which answer is the best; it does not see whose they are. Its cost is told apart." placeholder:"PROVIDER/MODEL"`
	Name  string   `help:"The comparison's name. Default: one that follows from the file, the models and the options, so that the same command buys nothing twice." placeholder:"NAME"`
	Show  string   `help:"Show a comparison that was made before, in place of making one; with --judge, ask that judge, too." placeholder:"NAME"`
	Rows  int64    `help:"How many rows are shown in a table; json and ndjson have all." default:"10" placeholder:"N"`
	reading
	asking
	spending
}

// maxModels is the number of models that are compared at most.
const maxModels = 8

// entrant is one model of a comparison, with the batch that asks it.
type entrant struct {
	batches.ModelKey
	cmd   *batchCmd
	in    batches.Input
	batch jobs.Batch
}

// Run asks all models, waits for their answers and shows them.
func (c *compareCmd) Run(s *session) error {
	if err := c.check(); err != nil {
		return cli.Fail(cli.Usage, err)
	}
	cfg, err := s.LoadConfig()
	if err != nil {
		return err
	}
	name := c.Show
	if name == "" {
		if name, err = c.make(s, cfg); name == "" || err != nil {
			return err
		}
	}
	return c.follow(s, cfg, name)
}

func (c *compareCmd) check() error {
	switch {
	case c.Rows < 0:
		return fmt.Errorf("--rows %d: must be 0 or more", c.Rows)
	case c.Show != "" && (c.File != "" || len(c.With) > 0 || c.Name != ""):
		return errors.New("--show: shows what was compared before: leave out the file, --with and --name")
	case c.Show != "":
		return nil
	case c.File == "":
		return errors.New("name a file of prompts to compare models with, or a comparison that was made before with --show")
	case len(c.With) < 2 || len(c.With) > maxModels:
		return fmt.Errorf("--with: must name 2 to %d models, such as openai/gpt-6-luna,anthropic/claude-haiku-5-5", maxModels)
	case c.Judge != "" && c.Task != string(providers.Text):
		return fmt.Errorf("--judge: reads texts, and knows nothing of %s: leave it out", c.Task)
	case c.Name != "":
		if err := batches.CheckID(c.Name); err != nil || len(c.Name) > 32 {
			return errors.New("--name: must be 1 to 32 letters, digits, dots, - and _, the first a letter or digit")
		}
	}
	return nil
}

// model reads PROVIDER/MODEL. A provider alone stands for its default model.
func (c *compareCmd) model(cfg config.Config, flag, text string) (batches.ModelKey, error) {
	provider, model, _ := strings.Cut(strings.TrimSpace(text), "/")
	if _, ok := cfg.Providers[provider]; !ok {
		return batches.ModelKey{}, cli.Fail(cli.Usage, fmt.Errorf("--%s %s: must be PROVIDER/MODEL, and the configured providers are %s", flag, rows.Quoted(text), strings.Join(slices.Sorted(maps.Keys(cfg.Providers)), ", ")))
	}
	if model == "" {
		if model = cli.Input(cfg).DefaultModel(provider, providers.Task(c.Task)); model == "" {
			return batches.ModelKey{}, cli.Fail(cli.Usage, fmt.Errorf("--%s %s: this provider has no default model for %s: name one, as in %s/MODEL", flag, provider, c.Task, provider))
		}
	}
	return batches.ModelKey{Provider: provider, Model: model}, nil
}

// make accepts the rows for each model, and returns the comparison's name; empty: there is
// nothing more to do.
func (c *compareCmd) make(s *session, cfg config.Config) (string, error) {
	if c.Judge != "" { // what is wrong with it is said before anything is bought
		if _, err := c.model(cfg, "judge", c.Judge); err != nil {
			return "", err
		}
	}
	if err := c.recognise(c.File); err != nil {
		return "", err
	}
	files, closeFiles, err := folder(c.File)
	if err != nil {
		return "", cli.Fail(cli.Usage, err)
	}
	defer closeFiles()
	all, err := c.entrants(s, cfg, files)
	if err != nil {
		return "", err
	}
	src, err := all[0].cmd.source(s, true)
	if err != nil {
		return "", err
	}
	defer src.close()
	for _, e := range all { // before anything is bought of another
		if err := e.takesAny(src); err != nil {
			return "", err
		}
	}
	content, err := src.sum()
	if err != nil {
		return "", err
	}
	name := c.name(all, src, content)
	for i, e := range all {
		all[i].batch = jobs.Batch{
			ID: batchOf(name, e.ModelKey), Account: c.Account, Source: src.name,
			Origin: "comparison of " + content, Options: c.kept(e), Exact: true,
			Tags: map[string]string{batches.TagComparison: name, batches.TagModel: e.String()},
		}
	}
	var columns columnNotes
	all[0].in.OnColumn = columns.add
	limit, nothing, err := c.approve(s, cfg, name, all, src, &columns)
	if nothing || err != nil {
		return "", err
	}
	fmt.Fprintf(s.Env.Err, "enqueue: comparison %s; come back to it with: enqueue compare --show %s\n", name, name)
	for _, e := range all {
		source, err := src.rows()
		if err != nil {
			return "", unread(err)
		}
		if _, err := take(s, cfg, c.asking, e.String(), batches.Intake{Input: e.in, Batch: e.batch, Opened: limit, Accepting: func([]jobs.New) { columns.print(s.Env.Err) }}, source); err != nil {
			return "", err
		}
	}
	return name, nil
}

// entrants prepares asking the models.
func (c *compareCmd) entrants(s *session, cfg config.Config, files fs.FS) ([]entrant, error) {
	var all []entrant
	for i, text := range c.With {
		key, err := c.model(cfg, "with", text)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(e entrant) bool { return e.ModelKey == key }) {
			return nil, cli.Fail(cli.Usage, fmt.Errorf("--with: %s is there twice", key))
		}
		e := entrant{ModelKey: key, cmd: &batchCmd{
			File: c.File, reading: c.reading, spending: c.spending,
			common: common{routing: routing{Provider: key.Provider, Model: key.Model, NoFallback: true}, asking: c.asking},
		}}
		if i == 0 {
			if err := e.cmd.check(); err != nil {
				return nil, cli.Fail(cli.Usage, err)
			}
			if e.in, err = e.cmd.input(s, cfg, c.Task, jobs.Bulk); err != nil {
				return nil, err
			}
			if err := e.cmd.shape(&e.in); err != nil {
				return nil, cli.Fail(cli.Usage, err)
			}
			e.in.Files = files
		} else {
			e.in = all[0].in
			e.in.Defaults = maps.Clone(e.in.Defaults)
			e.in.Defaults["provider"], e.in.Defaults["model"] = quote(key.Provider), quote(key.Model)
		}
		e.in.Ask = &key
		all = append(all, e)
	}
	return all, nil
}

// errEnough ends a reading that has found what it looked for.
var errEnough = errors.New("enough was read")

// takesAny fails unless the model can be asked about one row at least.
func (e entrant) takesAny(src *source) error {
	from, err := src.rows()
	if err != nil {
		return unread(err)
	}
	why := "there is no row"
	err = e.in.Read(from, func(jobs.New) error { return errEnough }, func(bad *rows.LineError) { why = bad.Error() })
	if closing := from.Close(); err == nil {
		err = closing
	}
	switch {
	case errors.Is(err, errEnough):
		return nil
	case err != nil:
		return unread(err)
	}
	return cli.Fail(cli.Usage, fmt.Errorf("%s takes none of the rows (%s): nothing was accepted", e, why))
}

// name is the comparison's: one that follows from all that decides about it, content among
// it, unless it was given one.
func (c *compareCmd) name(all []entrant, src *source, content string) string {
	if c.Name != "" {
		return c.Name
	}
	sum := sha256.New()
	for _, e := range all {
		fmt.Fprintf(sum, "%s %s %v\n", e, e.cmd.origin(), c.kept(e)) // maps are written in order
	}
	fmt.Fprintln(sum, content)
	base, _, _ := strings.Cut(src.name, ".")
	return shortened(base, 23) + "-" + hex.EncodeToString(sum.Sum(nil))[:8]
}

// kept are the options that decide what a model is asked.
func (c *compareCmd) kept(e entrant) map[string]string {
	kept := e.cmd.kept(e.in)
	if c.Limit > 0 {
		kept["--limit"] = strconv.Itoa(int(c.Limit))
	}
	return kept
}

// batchOf is the id of the batch that asks a model: another one for each.
func batchOf(name string, key batches.ModelKey) string {
	id := name + "." + key.Provider + "." + key.Model
	if clean := shortened(id, 64); clean == id {
		return id
	}
	sum := sha256.Sum256([]byte(key.String()))
	return shortened(id, 55) + "-" + hex.EncodeToString(sum[:4])
}

// shortened is a text with what no id has replaced, at most so long.
func shortened(text string, length int) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '-'
	}, text)
	if clean == "" || strings.IndexByte("._-", clean[0]) >= 0 {
		clean = "c" + clean
	}
	return clean[:min(len(clean), length)]
}

// approve refuses what costs too much, and asks. limit sets the budget that holds for all models
// together, and for judges, once a batch takes the rows.
func (c *compareCmd) approve(s *session, cfg config.Config, name string, all []entrant, src *source, columns *columnNotes) (limit func() error, nothing bool, err error) {
	money, err := c.amounts()
	if err != nil {
		return nil, true, cli.Fail(cli.Usage, err)
	}
	first := all[0].cmd
	twice, err := first.readsTwice(s)
	if err != nil {
		return nil, true, err
	}
	if twice {
		var whole forecast
		for i, e := range all {
			f, err := e.cmd.foresee(s, cfg, e.in, src, e.batch.ID)
			columns.print(s.Env.Err)
			if err != nil {
				return nil, true, err
			}
			if i == 0 {
				whole = f
				whole.Low, whole.Expected, whole.High, whole.Unpriced, whole.Providers = 0, 0, 0, 0, []finish{}
				whole.Charge.Low, whole.Charge.Expected, whole.Charge.High = 0, 0, 0
				continue
			}
			whole.Rows += f.Rows
			whole.BadLines += f.BadLines
			whole.Duplicates += f.Duplicates
			whole.Simulated = whole.Simulated || f.Simulated
			whole.least = add(whole.least, f.least)
			whole.Models = append(whole.Models, f.Models...)
		}
		if err := whole.sum(s, cfg); err != nil {
			return nil, true, err
		}
		if nothing, err := first.decide(s, whole, money, "comparison"); nothing || err != nil {
			return nil, true, err
		}
	}
	return first.limit(s, billing.Scope{Tag: batches.TagComparison + "=" + name}, money.limit), false, nil
}

// take accepts rows into a batch, says what is left out, and returns how many are in. what
// names the model.
func take(s *session, cfg config.Config, of asking, what string, t batches.Intake, source rows.Source) (int, error) {
	defer func() { _ = source.Close() }()
	producer, err := s.producer(cfg)
	if err != nil {
		return 0, err
	}
	if t.Input.Least, err = s.counted(cfg, of.Account); err != nil {
		return 0, err
	}
	q, err := newQuotes(s, cfg, of)
	if err != nil {
		return 0, err
	}
	progress := newTicker(s.Env.Err)
	q.clear = progress.clear
	bad := newBadLines(s.Env.Err, progress.clear)
	t.Store, t.Producer, t.Progress, t.Reject = s.store, producer, progress.show, bad.add
	say := t.Accepting
	t.Accepting = func(taken []jobs.New) {
		progress.clear()
		if say != nil {
			say(taken)
		}
		q.add(taken)
	}
	rep, err := t.Take(s.Ctx, source)
	progress.clear()
	bad.total()
	if err != nil {
		return 0, brokenComparison(rep, err)
	}
	s.notDispatched(rep.Undelivered)
	q.anew()
	if rep.Rejected > 0 {
		fmt.Fprintf(s.Env.Err, "enqueue: %s is not asked about %s\n", cli.Printable(what), cli.Things(int64(rep.Rejected), "row"))
	}
	return rep.Accepted + rep.Duplicates, nil
}

// brokenComparison explains what an intake that failed has left behind.
func brokenComparison(rep batches.Report, err error) error {
	if other, ok := errors.AsType[*rows.FormatError](err); ok {
		return cli.Fail(cli.Usage, other)
	}
	kept, isOther := errors.AsType[*jobs.OtherBatchError](err)
	option, isOption := errors.AsType[*jobs.OtherOptionsError](err)
	switch {
	case isOption:
		return cli.Fail(cli.Usage, fmt.Errorf("batch %s of this comparison %s: use another --name", rep.BatchID, made(option)))
	case isOther:
		return cli.Fail(cli.Usage, fmt.Errorf("batch %s of this comparison has %s already, and this says %s: use another --name", rep.BatchID, cli.Printable(kept.Is), cli.Printable(kept.Given)))
	case errors.Is(err, jobs.ErrOtherSource):
		return cli.Fail(cli.Usage, fmt.Errorf("batch %s of this comparison has rows of another file: use another --name", rep.BatchID))
	case errors.Is(err, jobs.ErrBatchRemoved), errors.Is(err, jobs.ErrBatchCancelled):
		return cli.Fail(cli.Usage, fmt.Errorf("%w, and takes no rows: use another --name", err))
	case errors.Is(err, context.Canceled):
		return cli.Fail(cli.Interrupted, errors.New("interrupted: run the same command again to add the rest; what is there is not bought again"))
	}
	return fmt.Errorf("%w (run the same command again to add the rest; what is there is not bought again)", err)
}
