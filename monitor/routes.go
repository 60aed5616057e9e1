package monitor

import (
	"context"
	"net/http"
	"strings"

	"oneflow/access"
	"oneflow/frontdoor"
)

// routes are all that the monitor serves, and the scope that each needs: the one place
// that says who may do what. Probes, the login page and its style are for anybody.
func (m *Monitor) routes() []access.Route {
	public := func(pattern string, h http.Handler) access.Route { return access.Route{Pattern: pattern, Handle: h} }
	routes := []access.Route{
		public("GET /static/", m.pages.static()),
		public("GET /login", http.HandlerFunc(m.loginPage)),
		public("POST /login", http.HandlerFunc(m.login)),
		public("POST /logout", http.HandlerFunc(m.logout)),

		reads("GET /batches/{id}", m.batchPage),
		reads("GET /api/batches/{id}", m.batchJSON),
		{Pattern: "GET /events", Scope: access.Read, Slow: true, Handle: http.HandlerFunc(m.events.serve)},
		reads(nothing, m.nothingHere),
	}
	routes = append(routes, ofFleet(
		reads("GET /{$}", m.overviewPage),
		reads("GET /api/overview", m.overviewJSON),
		reads("GET /queues.csv", m.lanesCSV),
		reads("GET /waits.csv", m.waitsCSV),
		reads("GET /activity.csv", m.activityCSV),
		reads("GET "+queuesPath, m.queues.ServeHTTP),
		reads("GET "+strings.TrimSuffix(queuesPath, "/"), http.RedirectHandler(m.cfg.BasePath+queuesPath, http.StatusMovedPermanently).ServeHTTP),
	)...)
	if m.cfg.Jobs != nil && m.cfg.Orders != nil {
		routes = append(routes, m.jobRoutes()...)
	}
	routes = append(routes, m.moneyRoutes()...)
	routes = append(routes, m.fleetRoutes()...)
	routes = append(routes, m.scheduleRoutes()...)
	routes = append(routes, m.comparisonRoutes()...)
	routes = append(routes, m.pipelineRoutes()...)
	if m.cfg.Metrics != nil {
		routes = append(routes, ofFleet(reads("GET /metrics", m.cfg.Metrics.ServeHTTP))...)
	}
	routes = append(routes, m.cfg.API...)
	if m.cfg.FrontDoor != nil {
		routes = append(routes, m.cfg.FrontDoor.Routes()...)
	}
	return routes
}

func reads(pattern string, h http.HandlerFunc) access.Route {
	return access.Route{Pattern: pattern, Scope: access.Read, Handle: h}
}

// looks is a route of what people have asked and models have answered: the record says who
// has looked.
func looks(pattern string, h http.HandlerFunc) access.Route {
	return access.Route{Pattern: pattern, Scope: access.Read, Record: true, Slow: true, Handle: h}
}

// orders is a route of what is recorded before it is carried out.
func orders(pattern string, h http.HandlerFunc) access.Route {
	return access.Route{Pattern: "POST " + pattern, Scope: access.Operate, Record: true, Handle: h}
}

// ofFleet makes routes those of what concerns all accounts.
func ofFleet(routes ...access.Route) []access.Route {
	for i := range routes {
		routes[i].Fleet = true
	}
	return routes
}

// moneyRoutes are those of what was spent and may be.
func (m *Monitor) moneyRoutes() []access.Route {
	if m.cfg.Money == nil {
		return nil
	}
	return append([]access.Route{
		reads("GET /money", m.moneyPage),
		reads("GET /money.csv", m.moneyCSV),
		reads("GET /budgets.csv", m.budgetsCSV),
		reads("GET /money/wallets/{account}", m.walletPage),
		reads("GET /money/wallets/{account}/statement.csv", m.walletCSV),
	}, ofFleet(reads("GET /alerts", m.alertsPage), reads("GET /alerts.csv", m.alertsCSV))...)
}

// fleetRoutes are those of providers and workers.
func (m *Monitor) fleetRoutes() []access.Route {
	if m.cfg.Fleet == nil || m.cfg.FleetOrders == nil {
		return nil
	}
	routes := []access.Route{
		reads("GET /providers", m.providersPage),
		reads("GET /providers.csv", m.providersCSV),
		reads("GET /latencies.csv", m.latenciesCSV),
		reads("GET /limits.csv", m.limitsCSV),
		reads("GET /breakers.csv", m.movesCSV),
		reads("GET /workers", m.workersPage),
		reads("GET /workers.csv", m.workersCSV),
	}
	for verb, do := range m.orders() {
		routes = append(routes, orders("/providers/{id}/"+verb, do))
	}
	return ofFleet(routes...)
}

// scheduleRoutes are those of schedules.
func (m *Monitor) scheduleRoutes() []access.Route {
	if m.cfg.Schedules == nil {
		return nil
	}
	routes := []access.Route{
		reads("GET /schedules", m.schedulesPage),
		reads("GET /schedules.csv", m.schedulesCSV),
		reads("GET /schedules/{id}", m.schedulePage),
		reads("GET /schedules/{id}/fires.csv", m.firesCSV),
	}
	for verb, do := range m.scheduleOrders() {
		routes = append(routes, orders("/schedules/{id}/"+verb, do))
	}
	return routes
}

// comparisonRoutes are those of models that are compared. Whoever looks at answers is recorded.
func (m *Monitor) comparisonRoutes() []access.Route {
	if m.cfg.Compare == nil {
		return nil
	}
	return []access.Route{
		reads("GET /comparisons", m.comparisonsPage),
		reads("GET /comparisons.csv", m.comparisonsCSV),
		reads("GET /comparisons/{id}", m.comparisonPage),
		reads("GET /comparisons/{id}/models.csv", m.comparedModelsCSV),
		looks("GET /comparisons/{id}/answers", m.answersPage),
		looks("GET /comparisons/{id}/answers.csv", m.answersCSV),
	}
}

// pipelineRoutes are those of pipelines, each as one.
func (m *Monitor) pipelineRoutes() []access.Route {
	if m.cfg.Pipelines == nil {
		return nil
	}
	routes := []access.Route{
		reads("GET /pipelines", m.pipelinesPage),
		reads("GET /pipelines.csv", m.pipelinesCSV),
		reads("GET /pipelines/{id}", m.pipelinePage),
		reads("GET /pipelines/{id}/steps.csv", m.stepsCSV),
	}
	if m.cfg.Orders == nil {
		return routes
	}
	for verb, do := range m.batchOrders() {
		routes = append(routes, orders("/pipelines/{id}/"+verb, m.order("/pipelines/", m.ownPipeline, do)))
	}
	return routes
}

// batchOrders are the orders that jobs, batches and pipelines take, by the last part of their
// path.
func (m *Monitor) batchOrders() map[string]func(context.Context, string) error {
	o := m.cfg.Orders
	return map[string]func(context.Context, string) error{"cancel": o.StopJobs, "retry": o.RetryFailed, "pause": o.Pause, "resume": o.Resume}
}

// jobRoutes are those of single jobs, and of orders for jobs and batches.
func (m *Monitor) jobRoutes() []access.Route {
	noted := func(pattern string, scope access.Scope, h http.HandlerFunc) access.Route {
		return access.Route{Pattern: pattern, Scope: scope, Query: []string{}, Record: true, Handle: h}
	}
	routes := []access.Route{
		reads("GET /jobs", m.jobsPage),
		reads("GET /jobs.csv", m.jobsCSV),
		reads("GET /dead-letters", m.deadLettersPage),
		reads("GET /jobs/{id}", m.jobPage),
		looks("POST /jobs/{id}/reveal", m.revealJob),
		looks("GET /jobs/{id}/artifacts/{n}", m.artifact),
		reads("GET /jobs/{id}/calls.csv", m.callsCSV),
		looks("GET /batches/{id}/results", m.results),
		reads("GET /batches/{id}/states.csv", m.statesCSV),
		reads("GET /batches/{id}/models.csv", m.modelsCSV),
		reads("GET /batches/{id}/problems.csv", m.problemsCSV),
		reads("GET /batches", m.batchesPage),
		reads("GET /batches.csv", m.batchesCSV),
	}
	routes = append(routes, m.programRoutes()...)
	o := m.cfg.Orders
	for verb, do := range m.batchOrders() {
		for _, base := range []string{"", "/api/v1"} {
			routes = append(routes,
				noted("POST "+base+"/jobs/{id}/"+verb, access.Operate, m.order("/jobs/", m.ownJob, do)),
				noted("POST "+base+"/batches/{id}/"+verb, access.Operate, m.order("/batches/", m.ownBatch, do)))
		}
	}
	settle := func(billed, retry bool) func(context.Context, string) error {
		return func(ctx context.Context, id string) error { return o.SettleUnknown(ctx, id, billed, retry) }
	}
	routes = append(routes, ofFleet(reads("GET /tasks/{queue}/{id}", m.taskPage))...)
	return append(routes,
		orders("/batches/{id}/retry-group", m.retryGroup),
		orders("/jobs/{id}/settle-unbilled", m.order("/jobs/", m.ownJob, settle(false, false))),
		orders("/jobs/{id}/settle-billed", m.order("/jobs/", m.ownJob, settle(true, false))),
		orders("/jobs/{id}/settle-retry", m.order("/jobs/", m.ownJob, settle(false, true))),
	)
}

// programRoutes are those of /api/v1 that tell of jobs and batches. An address has the names that
// are listed, and no other.
func (m *Monitor) programRoutes() []access.Route {
	with := func(route access.Route, query ...string) access.Route {
		route.Query = append([]string{}, query...)
		return route
	}
	jobs := []string{"state", "provider", "model", "batch", "account", "task", "tag", "error", "dead", "limit"}
	return []access.Route{
		with(reads("GET /api/v1/jobs", m.jobsJSON), append([]string{"since", "cursor"}, jobs...)...),
		with(reads("GET /api/v1/jobs/{id}", m.jobJSON)),
		with(looks("GET /api/v1/jobs/{id}/result", m.jobResult)),
		with(looks("GET /api/v1/jobs/{id}/artifacts/{n}", m.artifact)),
		with(reads("GET /api/v1/batches", m.batchesJSON), "state", "source", "tag", "account", "limit", "cursor"),
		with(reads("GET /api/v1/batches/{id}", m.batchJSON)),
		with(looks("GET /api/v1/batches/{id}/results", m.results), "format", "only"),
		with(access.Route{Pattern: "GET /api/v1/events", Scope: access.Read, Slow: true, Handle: http.HandlerFunc(m.apiEvents)}, append([]string{"types", "source"}, jobs...)...),
	}
}

// serveAll is everything, with its protection: from the outside in the headers of every
// answer, the base path, the name that was called, what other sites send, and the route.
func (m *Monitor) serveAll() http.Handler {
	all := http.NewServeMux()
	for path, probe := range map[string]http.HandlerFunc{"/healthz": healthy, "/readyz": m.ready} {
		all.HandleFunc("GET "+path, probe)
		all.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", http.MethodGet)
			m.problem(w, r, http.StatusMethodNotAllowed, "this address takes GET")
		})
	}
	all.Handle("/", m.ownName(m.sameOrigin(m.known(m.gate.Mux(m.routes(), m.refuse)))))
	return m.secured(underBasePath(m.cfg.BasePath, all))
}

// sameOrigin refuses what a page of another site has a browser send.
func (m *Monitor) sameOrigin(next http.Handler) http.Handler {
	p := http.NewCrossOriginProtection()
	p.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.problem(w, r, http.StatusForbidden, "a page of another site has sent this")
	}))
	return p.Handler(next)
}

// nothing is the pattern of the page that says that there is no such page.
const nothing = "GET /"

// known answers programs that ask for what no route is for: in their words, and with the methods
// that the path has.
func (m *Monitor) known(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		vendors, own := strings.HasPrefix(r.URL.Path, "/v1/"), strings.HasPrefix(r.URL.Path, "/api/")
		_, pattern := mux.Handler(r)
		if pattern != "" && (pattern != nothing || !vendors && !own) {
			mux.ServeHTTP(w, r)
			return
		}
		var has []string
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
			asked := r.Clone(r.Context())
			asked.Method = method
			if _, pattern := mux.Handler(asked); pattern != "" && pattern != nothing {
				has = append(has, method)
			}
		}
		refuse, status, why := m.refuse, http.StatusNotFound, "there is no such address"
		if vendors {
			refuse = frontdoor.Refuse
		}
		if len(has) > 0 {
			status, why = http.StatusMethodNotAllowed, "this address takes "+strings.Join(has, ", ")
			w.Header().Set("Allow", strings.Join(has, ", "))
		}
		if own {
			why += "; GET /api/v1/openapi.yaml describes all that there are"
		}
		refuse(w, r, status, why)
	})
}
