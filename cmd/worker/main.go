// Command worker runs jobs, and brings the database's schema up.
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"oneflow/config"
	"oneflow/internal/app"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/migrations"
	"oneflow/providers/keys"
)

func main() { os.Exit(cli.Main("worker", cli.WithDevEnvironment(run))) }

// grammar is the command line.
type grammar struct {
	cli.Services `group:"Global flags:"`
	cli.Logging  `group:"Global flags:"`
	Config       string `help:"The configuration file; default: oneflow.yaml where it exists." group:"Global flags:" placeholder:"FILE" env:"ONEFLOW_CONFIG"`

	Run        runCmd        `cmd:"" help:"Run jobs until SIGINT or SIGTERM, then let calls in flight end."`
	AdoptRedis adoptRedisCmd `cmd:"" help:"Make this Redis the fleet's, after it was another's. That fleet's deliveries there are dropped, and its own workers push them again elsewhere."`
	Migrate    migrateCmd    `cmd:"" help:"Bring the database's schema up, or look at it."`
	Keys       keysCmd       `cmd:"" help:"Set, list, check and remove API keys."`
	Check      checkCmd      `cmd:"" help:"Ask the providers whether they answer and take the keys, at no cost."`
	Models     modelsCmd     `cmd:"" help:"List the models with their prices and limits."`
	Prices     pricesCmd     `cmd:"" help:"Look after the price list."`
	Roles      rolesCmd      `cmd:"" help:"Say which database roles may submit jobs by SQL."`

	cli.About
}

type session struct {
	cli.Session
	config config.Config
}

func run(ctx context.Context, args []string, env cli.Env) error {
	var g grammar
	parsed, done, err := program().Parse(&g, args, env)
	if err != nil || done {
		return err
	}
	log, closeLog, err := g.Logger(env.Err)
	if err != nil {
		return err
	}
	defer func() { _ = closeLog() }()
	s := &session{Session: cli.Session{Ctx: ctx, Env: env, Log: log, Services: g.Services, ConfigPath: g.Config}}
	if s.config, err = s.LoadConfig(); err != nil {
		return err
	}
	return cli.Run(parsed, s)
}

// runCmd runs jobs.
type runCmd struct {
	Provider []string `help:"Serve this provider; may be repeated. Default: all that are configured." placeholder:"NAME"`
	Explain  bool     `help:"Print how many jobs of each provider would run at once, and why, and exit."`
	app.PprofFlag
}

// Run serves until the signal.
func (c *runCmd) Run(s *session) error {
	store, err := app.OpenKeys(s.Env.Getenv, s.config, s.Log)
	if err != nil {
		return cli.Fail(cli.Unsafe, err)
	}
	defer store.Close()
	usable, keyless := app.Usable(s.config, store)
	for _, name := range c.Provider {
		if _, ok := s.config.Providers[name]; !ok {
			return cli.Fail(cli.Usage, fmt.Errorf("--provider %s: is not configured; there are %s", name, strings.Join(slices.Sorted(maps.Keys(s.config.Providers)), ", ")))
		}
		if slices.Contains(keyless, name) {
			return cli.Fail(cli.Usage, fmt.Errorf("--provider %s: has no API key: set %s, or run `worker keys set %s`", name, keys.Variable(name), name))
		}
	}
	if c.Explain {
		names := c.Provider
		if len(names) == 0 {
			names = usable
		}
		return explain(s, app.Served(s.config, names))
	}
	db, err := s.Services.Postgres(s.Ctx, s.Log)
	if err != nil {
		return stopped(s, err)
	}
	defer db.Close()
	redis, err := s.Services.Redis(s.Ctx, s.Log)
	if err != nil {
		return stopped(s, err)
	}
	stop, err := c.Serve(s.Ctx, s.Log)
	if err != nil {
		return err
	}
	defer stop()
	err = app.RunWorker(s.Ctx, app.WorkerOptions{
		Config: s.config, Providers: c.Provider, Keys: store, Store: db, Redis: redis, Log: s.Log, Getenv: s.Env.Getenv,
	})
	if _, foreign := errors.AsType[*jobs.ForeignRedisError](err); foreign {
		return cli.Fail(cli.Unsafe, err)
	}
	return err
}

// stopped makes a signal during the start an ordinary end.
func stopped(s *session, err error) error {
	if s.Ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// migrateCmd works on the schema.
type migrateCmd struct {
	Up     migrateUp     `cmd:"" help:"Apply what is missing."`
	Status migrateStatus `cmd:"" help:"Show what is applied."`
}

type migrateUp struct{}

// Run applies migrations. Any number may run it at once.
func (migrateUp) Run(s *session) error {
	if err := s.Services.AnyPostgres(s.Ctx, s.Log); err != nil {
		return err
	}
	applied, err := migrations.Up(s.Ctx, s.Services.DatabaseURL)
	if err != nil {
		return err
	}
	if len(applied) == 0 {
		_, err = fmt.Fprintln(s.Env.Out, "the schema is up to date")
		return err
	}
	plural := "s"
	if len(applied) == 1 {
		plural = ""
	}
	_, err = fmt.Fprintf(s.Env.Out, "applied %d migration%s\n", len(applied), plural)
	return err
}

type migrateStatus struct{ cli.OutputFlag }

// applied is a migration for programs.
type applied struct {
	Version int64  `json:"version"`
	Name    string `json:"name"`
	Applied bool   `json:"applied"`
}

// Run lists migrations.
func (c *migrateStatus) Run(s *session) error {
	if err := s.Services.AnyPostgres(s.Ctx, s.Log); err != nil {
		return err
	}
	list, err := migrations.List(s.Ctx, s.Services.DatabaseURL)
	if err != nil {
		return err
	}
	rows, found := [][]string{{"VERSION", "NAME", "APPLIED"}}, []applied{}
	for _, m := range list {
		found = append(found, applied{m.Version, m.Name, m.Applied})
		rows = append(rows, []string{fmt.Sprint(m.Version), m.Name, map[bool]string{true: "yes", false: "no"}[m.Applied]})
	}
	if c.ForPrograms() {
		return c.Write(s.Env.Out, found)
	}
	return cli.Table(s.Env.Out, rows)
}
