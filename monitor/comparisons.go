package monitor

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"oneflow/access"
	"oneflow/batches"
	"oneflow/jobs"
)

const (
	// comparisonsShown bounds a list of comparisons, and rowsShown the rows of one that are
	// shown at a time.
	comparisonsShown = 200
	rowsShown        = 20
)

// ofAccount reads the comparisons of one account; of any where it is empty.
type ofAccount struct {
	batches.CompareStore
	account string
}

// Compared implements batches.CompareStore.
func (s ofAccount) Compared(ctx context.Context, name string) ([]batches.ComparedBatch, error) {
	list, err := s.CompareStore.Compared(ctx, name)
	if s.account != "" {
		list = slices.DeleteFunc(list, func(b batches.ComparedBatch) bool { return b.Account != s.account })
	}
	return list, err
}

// comparisonsOf returns a store of the comparisons that a request is about: those of the
// account that its token sees or, of all, that it names.
func (m *Monitor) comparisonsOf(r *http.Request) ofAccount {
	s := ofAccount{m.cfg.Compare, access.From(r.Context()).Account}
	if s.account == "" {
		s.account = shorten(r.URL.Query().Get("account"))
	}
	return s
}

// comparisonsPage is the data of the page of comparisons.
type comparisonsPage struct {
	At          time.Time
	Comparisons []batches.ComparisonSummary
	OneAccount  bool
}

func (m *Monitor) comparisons(r *http.Request) ([]batches.ComparisonSummary, error) {
	return m.cfg.Compare.Comparisons(r.Context(), access.From(r.Context()).Account, comparisonsShown)
}

func (m *Monitor) comparisonsPage(w http.ResponseWriter, r *http.Request) {
	list, err := m.comparisons(r)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	p := comparisonsPage{time.Now(), list, access.From(r.Context()).Account != ""}
	m.show(w, r, http.StatusOK, frame{Title: "Comparisons", Here: "comparisons", At: p.At}, "comparisons", p)
}

func (m *Monitor) comparisonsCSV(w http.ResponseWriter, r *http.Request) {
	list, err := m.comparisons(r)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	rows := [][]string{{"name", "account", "source", "models", "created_at"}}
	for _, c := range list {
		rows = append(rows, []string{c.Name, c.Account, c.Source, strings.Join(c.Models, " "), stampOr(c.CreatedAt)})
	}
	sendTable(w, "comparisons.csv", rows)
}

// comparisonPage is the data of a comparison's page.
type comparisonPage struct {
	At time.Time
	batches.Comparison
	// Rows are those that are shown; Shown reports whether somebody asked for them.
	Shown []batches.ComparedRow
	Asked bool
	// Path is that of the page, Answers leads to the rows, Next to the rows after these and
	// CSV and Models to the tables.
	Answers, Next, CSV, Models string
}

// Judged reports whether a judge was asked.
func (p comparisonPage) Judged() bool { return len(p.Judges) > 0 }

// comparison reads the comparison that a path names, if whoever asks may see it.
func (m *Monitor) comparison(r *http.Request) (comparisonPage, error) {
	name := r.PathValue("id")
	if len(name) > 200 || strings.ContainsRune(name, 0) || !utf8.ValidString(name) {
		return comparisonPage{}, jobs.ErrNotFound
	}
	found, err := batches.Compare(r.Context(), m.comparisonsOf(r), name)
	if err == nil {
		err = mine(r, found.Account)
	}
	if err != nil {
		return comparisonPage{}, err
	}
	base := "/comparisons/" + url.PathEscape(name)
	query := "?account=" + url.QueryEscape(found.Account)
	return comparisonPage{At: time.Now(), Comparison: found, Answers: base + "/answers" + query, CSV: base + "/answers.csv" + query, Models: base + "/models.csv" + query}, nil
}

func (m *Monitor) comparisonPage(w http.ResponseWriter, r *http.Request) {
	p, err := m.comparison(r)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	m.show(w, r, http.StatusOK, frame{Title: "Comparison " + p.Name, Here: "comparisons", At: p.At}, "comparison", p)
}

// answersPage shows the answers of a comparison side by side. The record says who has looked.
func (m *Monitor) answersPage(w http.ResponseWriter, r *http.Request) {
	p, err := m.comparison(r)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	after := int64(0)
	if s := r.URL.Query().Get("after"); s != "" {
		if after, err = strconv.ParseInt(s, 10, 64); err != nil || after < 0 {
			m.refuse(w, r, http.StatusBadRequest, "after: must be the number of a row")
			return
		}
	}
	last, rows := int64(0), map[int64]bool{}
	err = p.EachRow(r.Context(), m.comparisonsOf(r), after, rowsShown, func(row batches.ComparedRow) error {
		row.Prompt = cut(row.Prompt)
		for i, a := range row.Answers {
			row.Answers[i].Text = cut(a.Text)
		}
		p.Shown, last, rows[row.Row] = append(p.Shown, row), row.Row, true
		return nil
	})
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	p.Asked = true
	if len(rows) == rowsShown {
		p.Next = p.Answers + "&after=" + strconv.FormatInt(last, 10)
	}
	m.show(w, r, http.StatusOK, frame{Title: "Comparison " + p.Name, Here: "comparisons", At: p.At, Still: true}, "comparison", p)
}

// comparedModelsCSV sends the figures of a comparison's models as a table.
func (m *Monitor) comparedModelsCSV(w http.ResponseWriter, r *http.Request) {
	p, err := m.comparison(r)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	rows := [][]string{{
		"model", "batch", "state", "jobs", "answers", "failed", "cost_usd", "simulated_cost_usd", "unpriced_calls", "usd_per_answer", "input_tokens", "output_tokens",
		"latency_ms_p50", "latency_ms_p95",
	}}
	for _, c := range p.Comparison.Models {
		perAnswer := ""
		if c.PerAnswer != nil {
			perAnswer = c.PerAnswer.String()
		}
		rows = append(rows, []string{
			c.Model, c.BatchID, c.State, number(c.Jobs), number(c.Answers), number(c.Failed), c.Cost.String(), c.Simulated.String(), number(c.Unpriced), perAnswer,
			number(c.InputTokens), number(c.OutputTokens), number(c.P50MS), number(c.P95MS),
		})
	}
	sendTable(w, "models.csv", rows)
}

// answersCSV sends a row for each answer of a comparison.
func (m *Monitor) answersCSV(w http.ResponseWriter, r *http.Request) {
	p, err := m.comparison(r)
	if err != nil {
		m.failPage(w, r, err)
		return
	}
	t := newTable(w, "answers.csv")
	t.write("row", "custom_id", "prompt", "model", "job", "state", "answer", "error", "best", "cost_usd", "simulated_cost_usd", "input_tokens", "output_tokens", "latency_ms")
	err = p.EachRow(r.Context(), m.comparisonsOf(r), 0, 0, func(row batches.ComparedRow) error {
		for _, a := range row.Answers {
			t.write(number(row.Row), row.CustomID, row.Prompt, a.Model, a.JobID, string(a.State), a.Text, a.Error, strings.Join(best(row, a.Model), " "),
				a.Cost.String(), a.Simulated.String(), number(a.InputTokens), number(a.OutputTokens), number(a.LatencyMS))
		}
		return nil
	})
	if err != nil {
		m.cfg.Log.Warn().Err(err).Msg("a table broke off")
		panic(http.ErrAbortHandler) // a whole table was promised
	}
	t.Flush()
}

// best lists the judges that named a model's answer to a row the best.
func best(row batches.ComparedRow, model string) (judges []string) {
	for _, v := range row.Verdicts {
		if v.Best == model {
			judges = append(judges, v.Judge)
		}
	}
	return judges
}
