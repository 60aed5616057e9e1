package worker

import (
	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/providers/kinds"
)

const (
	// raiseCut is the factor by which the cap of an answer is raised that was cut off.
	raiseCut = 4
)

// revised is a request as it is sent after an answer that was rejected.
func revised(req providers.Request, r providers.Revision) (providers.Request, error) {
	if req.Body == nil {
		return providers.Capabilities{}.Revised(req, r)
	}
	_, can, _ := kinds.TakerOf(req.Endpoint)
	return can.Revised(req, r)
}

// next is the request to send after the answers that were rejected; end is set where there
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
