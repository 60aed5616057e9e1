// Command enqueue brings jobs in, watches them, cancels them, brings failed ones
// back, and takes their results out.
package main

import (
	"context"
	"os"
	"runtime/debug"
	_ "time/tzdata" // for --at "18:00 Europe/Paris" where the machine has no zones

	"oneflow/internal/cli"
)

// softLimit is the memory that the collector tries to stay under: a prompt of 10 MB
// leaves several times its size behind while it is read. GOMEMLIMIT wins.
const softLimit = 160 << 20

// collectAt is by how many percent what is in use may grow before the collector runs: a fifth of what it
// takes to read and send short rows goes to it by Go's default of 100. GOGC wins.
const collectAt = 400

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(softLimit)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	os.Exit(cli.Main("enqueue", cli.WithDevEnvironment(run)))
}

// grammar is the command line.
type grammar struct {
	cli.Services `group:"Global flags:"`
	cli.Logging  `group:"Global flags:"`
	Config       string `help:"The configuration file; default: oneflow.yaml where it exists." group:"Global flags:" placeholder:"FILE" env:"ONEFLOW_CONFIG"`

	Text  oneCmd `cmd:"" help:"Enqueue one text."`
	Image oneCmd `cmd:"" help:"Enqueue one picture."`
	Audio oneCmd `cmd:"" help:"Enqueue one piece of speech."`
	Video oneCmd `cmd:"" help:"Enqueue one film."`

	Embedding     oneCmd   `cmd:"" help:"Enqueue one text to embed: its result is a vector."`
	Transcription soundCmd `cmd:"" help:"Enqueue one sound to transcribe."`

	Batch    batchCmd    `cmd:"" help:"Enqueue a file of prompts. The same file under the same --batch-id adds nothing twice."`
	Pipeline pipelineCmd `cmd:"" help:"Enqueue rows that go through several steps, each made of the answers of the one before."`

	Ls      lsCmd      `cmd:"" help:"List batches, the newest first."`
	Jobs    jobsCmd    `cmd:"" help:"List the jobs of a batch."`
	Status  statusCmd  `cmd:"" help:"Show where a batch or a job stands."`
	Watch   watchCmd   `cmd:"" help:"Follow a batch or a job until it has finished."`
	Cancel  cancelCmd  `cmd:"" help:"Cancel a batch or a job; a call under way is paid for and may finish."`
	Pause   pauseCmd   `cmd:"" help:"Hold a batch or a job back: what has not been sent to a provider is not sent."`
	Resume  resumeCmd  `cmd:"" help:"Let a paused batch or job go on."`
	Retry   retryCmd   `cmd:"" help:"Queue failed jobs of a batch, or a failed job, again."`
	Resolve resolveCmd `cmd:"" help:"Settle calls with unknown outcome by hand, once you know from the provider what they cost."`
	Cost    costCmd    `cmd:"" help:"Show what calls have cost: of a batch or a job, or of all by provider, model, day, account, tag or batch."`
	Rm      rmCmd      `cmd:"" help:"Remove the jobs, results and files of a batch that has finished. Its id is refused from then on; what it cost stays in the books."`
	Export  exportCmd  `cmd:"" help:"Write the results of a batch or a job."`
	Compare compareCmd `cmd:"" help:"Ask several models the same rows, and show answers, cost and time side by side."`

	Schedule scheduleCmd `cmd:"" help:"Run a command of enqueue again and again: by a cron expression, or every so often."`

	cli.About
}

func run(ctx context.Context, args []string, env cli.Env) error {
	var g grammar
	parsed, done, err := program().Parse(&g, args, env)
	if err != nil || done {
		return err
	}
	if err := cli.CheckConfig(g.Config); err != nil {
		return err
	}
	log, closeLog, err := g.Logger(env.Err)
	if err != nil {
		return err
	}
	defer func() { _ = closeLog() }()
	s := &session{Session: cli.Session{Ctx: ctx, Env: env, Log: log, Services: g.Services, ConfigPath: g.Config}, task: parsed.Name}
	defer s.close()
	return cli.Run(parsed, s)
}
