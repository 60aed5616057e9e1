package batches

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/google/uuid"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

// Submission is a job that an application has submitted by SQL, in a transaction of its
// own.
type Submission struct {
	ID      uuid.UUID // the job's
	Account string
	Task    providers.Task
	// Request holds the fields of a row, as JSON.
	Request json.RawMessage
}

// SubmissionStore keeps submissions until they are jobs.
type SubmissionStore interface {
	// Submissions returns up to limit of those that are no jobs yet, the oldest first.
	Submissions(ctx context.Context, limit int) ([]Submission, error)
	// EndSubmissions notes that these are jobs now.
	EndSubmissions(ctx context.Context, ids []uuid.UUID) error
	// RefuseSubmission makes a failed job of one, of the error class "refused".
	RefuseSubmission(ctx context.Context, s Submission, why string) error
}

// Submissions makes jobs of what was submitted, as a producer makes them of rows. Any
// number of them may run at once: a job has its submission's id, and is accepted once.
type Submissions struct {
	Store    SubmissionStore
	Producer *jobs.Producer
	// Input knows the providers.
	Input Input
	// Provider returns the provider to ask first where nobody names one, or the best for the
	// task where that is asked for; empty: there is none, and why says so.
	Provider func(ctx context.Context, task providers.Task, best bool) (name, why string, err error)
	// Funds returns what an account has for new jobs, and what computes the least that one
	// costs; nil: no wallet limits it.
	Funds func(ctx context.Context, account string) (billing.Funds, func(jobs.New) billing.NanoUSD, error)
}

// submittedAtOnce is the number of submissions that are accepted together: each such part stays done,
// also where whoever accepts them dies soon after.
const submittedAtOnce = 100

// Round accepts what waits.
func (s *Submissions) Round(ctx context.Context) error {
	for {
		list, err := s.Store.Submissions(ctx, submittedAtOnce)
		if err != nil || len(list) == 0 {
			return err
		}
		if err := s.take(ctx, list); err != nil {
			return err
		}
	}
}

// take accepts some, and refuses those that are no jobs.
func (s *Submissions) take(ctx context.Context, list []Submission) error {
	purses, firsts := map[string]*purse{}, map[wanted]chosen{}
	var good []jobs.New
	for _, sub := range list {
		p := purses[sub.Account]
		if p == nil {
			has, least, err := s.Funds(ctx, sub.Account)
			if err != nil {
				return err
			}
			p = &purse{has: has, least: least}
			purses[sub.Account] = p
		}
		var fields Fields
		if json.Unmarshal(sub.Request, &fields) != nil {
			fields = nil // which has no prompt
		}
		want := wanted{sub.Task, WantsBest(fields)}
		if _, asked := firsts[want]; !asked {
			name, why, err := s.Provider(ctx, sub.Task, want.best)
			if err != nil {
				return err
			}
			firsts[want] = chosen{name, why}
		}
		job, err := s.decode(sub, fields, firsts[want])
		if err == nil {
			err = p.take(&job)
		}
		if err != nil {
			if err := s.Store.RefuseSubmission(ctx, sub, err.Error()); err != nil {
				return err
			}
			continue
		}
		good = append(good, job)
	}
	err := s.accept(ctx, good)
	if err == nil || ctx.Err() != nil || len(good) == 0 {
		return err
	}
	// One that Postgres refuses must not hold the others up.
	for _, job := range good {
		if err := s.accept(ctx, []jobs.New{job}); err != nil {
			if ctx.Err() != nil {
				return err
			}
			if err := s.Store.RefuseSubmission(ctx, Submission{ID: job.ID}, "it could not be stored: "+err.Error()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Submissions) accept(ctx context.Context, good []jobs.New) error {
	if len(good) == 0 {
		return nil
	}
	// What Redis does not take is dispatched by a top-up.
	if _, _, err := s.Producer.Enqueue(ctx, "", good); err != nil {
		return err
	}
	ids := make([]uuid.UUID, len(good))
	for i, job := range good {
		ids[i] = job.ID
	}
	return s.Store.EndSubmissions(ctx, ids)
}

// wanted says which provider is asked for: the first for a task, or the best.
type wanted struct {
	task providers.Task
	best bool
}

// chosen is a provider, or why there is none.
type chosen struct{ name, why string }

// Best is named in place of a provider by whoever wants the one that does best now. A provider
// of that name goes before it.
const Best = "best"

// WantsBest reports whether a request asks for the provider that does best now.
func WantsBest(fields Fields) bool { return text(fields["provider"]) == Best }

// decode makes a job of the fields that were submitted. first is the provider to ask where they
// name none.
func (s *Submissions) decode(sub Submission, fields Fields, first chosen) (jobs.New, error) {
	in := s.Input
	in.Account = sub.Account
	in.Defaults = map[string]json.RawMessage{"lane": quote(string(jobs.Default))}
	best := WantsBest(fields)
	if first.name == "" && (best || !fields.has("provider") && !fields.has("chain")) {
		return jobs.New{}, errors.New("provider: " + first.why)
	}
	if first.name != "" {
		in.Defaults["provider"] = quote(first.name)
	}
	fields = maps.Clone(fields)
	if fields == nil {
		fields = Fields{}
	}
	if best {
		delete(fields, "provider")
	}
	if fields.has("task") && text(fields["task"]) != string(sub.Task) {
		return jobs.New{}, fmt.Errorf("task: was submitted as %s, and the request says otherwise: leave it out there", sub.Task)
	}
	fields["task"] = quote(string(sub.Task))
	job, err := in.One(fields)
	job.ID = sub.ID
	return job, err
}

// purse holds what an account's wallet has left for new jobs.
type purse struct {
	has   billing.Funds
	least func(jobs.New) billing.NanoUSD
	sum   billing.NanoUSD
}

func (p *purse) take(job *jobs.New) error {
	if p.least == nil {
		return nil
	}
	job.Least = p.least(*job)
	if err := p.has.Check(p.sum + job.Least); err != nil {
		return err
	}
	p.sum += job.Least
	return nil
}
