package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"oneflow/batches"
	"oneflow/config"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/store"
)

// session is one run of the command.
type session struct {
	cli.Session
	task string

	store *store.Store
	redis redis.UniversalClient
	made  *jobs.Producer // nil: nobody has asked yet
	// purse holds what the account has for new jobs; nil: nobody has asked yet.
	purse *purse
}

func (s *session) close() {
	if s.store != nil {
		s.store.Close()
	}
	if s.redis != nil {
		_ = s.redis.Close()
	}
}

// db connects to Postgres at the first call.
func (s *session) db() (*store.Store, error) {
	if s.store != nil {
		return s.store, nil
	}
	db, err := s.Services.Postgres(s.Ctx, s.Log)
	if err != nil {
		return nil, err
	}
	s.store = db
	return db, nil
}

// producer connects to both. Redis may be down: what was accepted is dispatched
// later. One that refuses us for good is told before anything is accepted.
func (s *session) producer(cfg config.Config) (*jobs.Producer, error) {
	db, err := s.db()
	if err != nil {
		return nil, err
	}
	opts, err := s.Services.RedisOptions()
	if err != nil {
		return nil, err
	}
	opts.MaxRetries = 1
	opts.DialTimeout = 2 * time.Second
	if s.made != nil {
		return s.made, nil
	}
	client := redis.NewClient(opts)
	s.redis = client
	if err := s.Services.RedisRefusal(s.Ctx, client); err != nil {
		return nil, err
	}
	prices, err := priceList(cfg)
	if err != nil {
		return nil, cli.Fail(cli.Usage, err)
	}
	estimates := &batches.Estimates{Prices: prices, Kind: func(provider string) string { return pricedAs(cfg, provider) }, Lengths: db.AnswerLengths}
	s.made = jobs.NewProducer(db, jobs.NewDispatcher(client, db)).Estimating(estimates.Fill)
	return s.made, nil
}

// common are the flags of everything that brings jobs in.
type common struct {
	routing
	asking
}

// routing are the flags of who is asked.
type routing struct {
	Provider   string             `help:"The provider to ask first, or best: the one that does best now, by success, latency and price. Default: the first of --chain, else the first of the task's chain that has a key here or a live worker." placeholder:"NAME"`
	Chain      []string           `help:"The providers to ask in order, such as anthropic,openai, in place of the chain of the task." placeholder:"NAME,…"`
	Fallback   providers.Fallback `help:"When to go on to the next provider: auto (after every failure but one of the request itself), never, or always. Default: auto." enum:"auto,never,always," default:"" placeholder:"WHEN"`
	NoFallback bool               `help:"Ask no other provider: --fallback never."`
	Model      string             `help:"The model; default: the provider's."`
}

// asking are the flags of how, when and for whom.
type asking struct {
	Set  map[string]string `help:"Any other option of the request, such as --set max_tokens=200; a value that is JSON is taken as such." placeholder:"NAME=VALUE" mapsep:"none"`
	Lane jobs.Lane         `aliases:"priority" help:"high, default or bulk. Default: default for single jobs, bulk for batches. --priority is the same." placeholder:"LANE"`
	when
	Account   string          `help:"Whom it is for." default:"default"`
	OnUnknown jobs.OnUnknown  `help:"What to do after a call whose outcome is not known: retry (once more) or fail." enum:"retry,fail" default:"retry"`
	Reask     *int            `help:"How often to ask again after an answer that breaks its JSON schema: each time is a call of its own, on the bill. Default: 1." placeholder:"N"`
	OnCut     providers.OnCut `help:"What to do with a text that its cap cut off: keep, fail, or retry with a higher cap, as far as the model goes. Default: keep." enum:"keep,fail,retry," default:"" placeholder:"WHAT"`
	Cache     *time.Duration  `help:"Let an answer be one that the account was given to the same request, no longer ago than this, such as 24h or 7d; 0: ask anew. Texts at a temperature above 0, pictures and films, without a seed, are asked anew all the same, unless --cache-varied. Default: what the configuration says." placeholder:"DURATION"`

	CacheVaried bool `help:"With --cache: also where the request asks for variety."`
	cli.OutputFlag
}

// input prepares reading jobs. task is the task of rows that name none. As long as
// nobody has chosen the provider to ask first, it is the first of the task's chain.
func (c common) input(s *session, cfg config.Config, task string, lane jobs.Lane) (batches.Input, error) {
	if err := c.check(cfg); err != nil {
		return batches.Input{}, cli.Fail(cli.Usage, err)
	}
	runAt, deadline, err := c.times(time.Now())
	if err != nil {
		return batches.Input{}, cli.Fail(cli.Usage, err)
	}
	c.say(s, runAt, deadline)
	if c.Lane != "" {
		lane = c.Lane
	}
	defaults := map[string]json.RawMessage{}
	for key, value := range c.Set {
		defaults[key] = jsonValue(value)
	}
	if c.NoFallback {
		c.Fallback = providers.FallbackNever
	}
	if c.Fallback != "" {
		defaults["fallback"] = quote(string(c.Fallback))
	}
	if len(c.Chain) > 0 {
		if defaults["chain"], err = json.Marshal(c.Chain); err != nil {
			return batches.Input{}, err
		}
	}
	if c.Reask != nil {
		defaults["reask"] = json.RawMessage(strconv.Itoa(*c.Reask))
	}
	if c.OnCut != "" {
		defaults["on_cut"] = quote(string(c.OnCut))
	}
	if err := c.cache(defaults); err != nil {
		return batches.Input{}, cli.Fail(cli.Usage, err)
	}
	provider, named := c.named(cfg)
	if !named {
		provider = firstOr(cfg.Chains[task], mockProvider)
	}
	for key, value := range map[string]string{"provider": provider, "model": c.Model, "lane": string(lane), "task": task} {
		if value != "" {
			defaults[key] = quote(value)
		}
	}
	in := cli.Input(cfg)
	in.Defaults, in.Account, in.OnUnknown, in.RunAt, in.Deadline, in.OnModel = defaults, c.Account, c.OnUnknown, runAt, deadline, s.checkModels(cfg)
	return in, nil
}

// checkRoute checks who is to be asked.
func (c common) checkRoute(cfg config.Config) error {
	if c.NoFallback && c.Fallback != "" && c.Fallback != providers.FallbackNever {
		return fmt.Errorf("--no-fallback: --fallback %s says otherwise: leave one of them out", c.Fallback)
	}
	if _, named := cfg.Providers[best]; c.Provider == best && !named {
		switch {
		case c.Model != "":
			return errors.New("--model: --provider best chooses among providers, which have different models: leave one of them out")
		case len(c.Chain) > 0:
			return errors.New("--chain: --provider best finds the first provider itself: leave one of them out")
		}
		return nil
	}
	if len(c.Chain) > 0 {
		if err := cfg.CheckChain(c.Chain); err != nil {
			return fmt.Errorf("--chain: %w", err)
		}
		if c.Provider != "" && c.Provider != c.Chain[0] {
			return fmt.Errorf("--chain: must begin with --provider, which is %s; or leave --provider out", c.Provider)
		}
		if (c.NoFallback || c.Fallback == providers.FallbackNever) && len(c.Chain) > 1 {
			return fmt.Errorf("--chain: without fallback only %s would be asked: leave one of them out", c.Chain[0])
		}
	}
	if _, ok := cfg.Providers[c.Provider]; c.Provider != "" && !ok {
		return fmt.Errorf("--provider %s: is not configured; there are %s, and best", c.Provider, strings.Join(slices.Sorted(maps.Keys(cfg.Providers)), ", "))
	}
	return nil
}

// check refuses here what would otherwise be refused once for each row.
func (c common) check(cfg config.Config) error {
	if err := c.checkRoute(cfg); err != nil {
		return err
	}
	if c.Lane != "" && !slices.Contains(jobs.Lanes(), c.Lane) {
		return fmt.Errorf("--lane (or --priority) %s: must be high, default or bulk", c.Lane)
	}
	own := map[string]string{"provider": "--provider", "chain": "--chain", "fallback": "--fallback", "model": "--model", "lane": "--lane", "run_at": "--at", "complete_by": "--complete-by", "task": "the command or --task", "reask": "--reask", "on_cut": "--on-cut", "cache_seconds": "--cache", "combine": "--combine", "cache_varied": "--cache-varied"}
	known := slices.DeleteFunc(batches.FieldNames(), func(name string) bool { return name == "custom_id" || own[name] != "" })
	slices.Sort(known)
	for _, name := range slices.Sorted(maps.Keys(c.Set)) {
		switch {
		case own[name] != "":
			return fmt.Errorf("--set %s=…: use %s", name, own[name])
		case !slices.Contains(known, name):
			return fmt.Errorf("--set %s=…: there is no such option; options are %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// jsonValue takes a value as JSON where it is that, else as a string.
func jsonValue(value string) json.RawMessage {
	if trimmed := strings.TrimSpace(value); json.Valid([]byte(trimmed)) {
		return json.RawMessage(trimmed)
	}
	return quote(value)
}

func quote(s string) json.RawMessage {
	data, err := json.Marshal(s)
	if err != nil {
		return json.RawMessage(`""`)
	}
	return data
}

// notDispatched reports that jobs are safe although Redis did not take them.
func (s *session) notDispatched(err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	if foreign, ok := errors.AsType[*jobs.ForeignRedisError](err); ok {
		fmt.Fprintf(s.Env.Err, "enqueue: %v. The jobs are accepted and safe in Postgres, and wait there until then.\n", foreign)
		return
	}
	fmt.Fprintf(s.Env.Err, "enqueue: Redis did not take all deliveries (%v). The jobs are accepted and safe in Postgres: a worker dispatches them as soon as Redis is back.\n", err)
}
