package worker

import (
	"fmt"

	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

const (
	// maxPauses bounds how often a vendor's wish to go on with an answer is followed: the
	// next answer is the result, paused or not.
	maxPauses = 5
	// raiseCut is the factor by which the cap of an answer is raised that was cut off.
	raiseCut = 4
)

// missError is returned by End for an answer that is paid for and no success. Its call
// is settled.
type missError struct{ miss jobs.Miss }

func (e *missError) Error() string { return "the answer does not do: " + string(e.miss.Kind) }

// judge returns why an answer is no success; nil: it is one. before are those of the same
// job that were none.
func (h *handler) judge(req providers.Request, res providers.Response, before []jobs.Miss) *jobs.Miss {
	if req.Task != providers.Text {
		return nil
	}
	miss := &jobs.Miss{Answer: res.Text, OutputTokens: res.Usage.TotalOutput(), Model: res.Model, Provider: res.Provider}
	finish := providers.FinishOf(res.FinishReason)
	if finish == providers.FinishPause {
		pauses := 0
		for _, m := range before {
			if m.Kind == providers.Paused {
				pauses++
			}
		}
		if _, err := revised(req, providers.Revision{Paused: res.Raw}); err != nil || pauses >= maxPauses {
			return nil
		}
		miss.Kind, miss.Message, miss.Answer = providers.Paused, "the vendor asks to go on with the answer", string(res.Raw)
		return miss
	}
	cut := finish == providers.FinishLength
	if cut && (req.OnCut == providers.FailCut || req.OnCut == providers.RetryCut) {
		miss.Kind, miss.Message = providers.Cut, fmt.Sprintf("the answer was cut off after %d tokens", miss.OutputTokens)
		return miss
	}
	f := kinds.Named("", req).ResponseFormat
	if f == nil || f.JSONSchema == nil || finish == providers.FinishToolCalls {
		return nil
	}
	problem := h.schemas.Violation(f.JSONSchema.Schema, res.Text)
	switch {
	case problem == "":
		return nil
	case cut: // to ask again would be to buy the same cut
		miss.Kind, miss.Message = providers.Cut, fmt.Sprintf("the answer was cut off after %d tokens and breaks its schema: %s", miss.OutputTokens, problem)
	default:
		miss.Kind, miss.Message = providers.OffSchema, problem
	}
	return miss
}

// revised is a request as it is sent after an answer that did not do.
func revised(req providers.Request, r providers.Revision) (providers.Request, error) {
	if req.Body == nil {
		return providers.Capabilities{}.Revised(req, r)
	}
	_, can, _ := kinds.TakerOf(req.Endpoint)
	return can.Revised(req, r)
}

// next is the request to send after the answers that did not do; end is set where there
// is to be none.
func (h *handler) next(job jobs.Job, misses []jobs.Miss) (req providers.Request, end *jobs.Completion) {
	req = job.Request
	reasks := 0
	for _, miss := range misses {
		failed := &jobs.Completion{State: jobs.Failed, Class: string(miss.Kind), Message: miss.Message}
		var r providers.Revision
		switch miss.Kind { //nolint:exhaustive // the others are no answers
		case providers.OffSchema:
			if reasks++; reasks > job.Request.Reasks() {
				return req, failed
			}
			r.Answer = miss.Answer
			r.Objection = "The answer does not fit the JSON schema that was asked for: " + miss.Message + ". Answer again, with JSON alone that fits it."
		case providers.Cut:
			limit := max(kinds.Named("", req).MaxTokens, miss.OutputTokens)
			most := h.cfg.Prices.LongestAnswer(miss.Provider, miss.Model)
			if job.Request.OnCut != providers.RetryCut || limit >= most {
				return req, failed
			}
			r.MaxTokens = min(raiseCut*limit, most)
		case providers.Paused:
			r.Paused = []byte(miss.Answer)
		}
		var err error
		if req, err = revised(req, r); err != nil {
			failed.Message += "; " + err.Error()
			return req, failed
		}
	}
	return req, nil
}
