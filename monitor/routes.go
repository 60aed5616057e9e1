package monitor

import (
	"context"
	"net/http"
	"strings"

	"oneflow/access"
)

// routes are all that the monitor serves, and the scope that each needs: the one place
// that says who may do what. Probes, the login page and its style are for anybody.
func (m *Monitor) routes() []access.Route {
	page := func(pattern string, h http.HandlerFunc) access.Route {
		return access.Route{Pattern: pattern, Scope: access.Read, Handle: h}
	}
	public := func(pattern string, h http.Handler) access.Route { return access.Route{Pattern: pattern, Handle: h} }
	ofFleet := func(r access.Route) access.Route { r.Fleet = true; return r }
	routes := []access.Route{
		public("GET /static/", m.pages.static()),
		public("GET /login", http.HandlerFunc(m.loginPage)),
		public("POST /login", http.HandlerFunc(m.login)),
		public("POST /logout", http.HandlerFunc(m.logout)),

		ofFleet(page("GET /{$}", m.overviewPage)),
		ofFleet(page("GET /api/overview", m.overviewJSON)),
		page("GET /batches/{id}", m.batchPage),
		page("GET /api/batches/{id}", m.batchJSON),
		ofFleet(page("GET "+queuesPath, m.queues.ServeHTTP)),
		ofFleet(page("GET "+strings.TrimSuffix(queuesPath, "/"), http.RedirectHandler(m.cfg.BasePath+queuesPath, http.StatusMovedPermanently).ServeHTTP)),
		page("GET /", m.nothingHere),
	}
	if m.cfg.Jobs != nil && m.cfg.Orders != nil {
		routes = append(routes, m.jobRoutes()...)
	}
	if m.cfg.FrontDoor != nil {
		routes = append(routes, m.cfg.FrontDoor.Routes()...)
	}
	return routes
}

// jobRoutes are those of single jobs, and of orders for jobs and batches.
func (m *Monitor) jobRoutes() []access.Route {
	reads := func(pattern string, h http.HandlerFunc) access.Route {
		return access.Route{Pattern: pattern, Scope: access.Read, Handle: h}
	}
	noted := func(pattern string, scope access.Scope, h http.HandlerFunc) access.Route {
		return access.Route{Pattern: pattern, Scope: scope, Record: true, Patient: scope == access.Read, Handle: h}
	}
	routes := []access.Route{
		reads("GET /jobs", m.jobsPage),
		reads("GET /jobs.csv", m.jobsCSV),
		reads("GET /jobs/{id}", m.jobPage),
		noted("POST /jobs/{id}/reveal", access.Read, m.revealJob),
		noted("GET /jobs/{id}/artifacts/{n}", access.Read, m.artifact),
		reads("GET /batches", m.batchesPage),
		reads("GET /batches.csv", m.batchesCSV),
		reads("GET /api/v1/jobs", m.jobsJSON),
		reads("GET /api/v1/jobs/{id}", m.jobJSON),
		reads("GET /api/v1/batches", m.batchesJSON),
		reads("GET /api/v1/batches/{id}", m.batchJSON),
	}
	o := m.cfg.Orders
	for verb, do := range map[string]func(context.Context, string) error{"cancel": o.StopJobs, "retry": o.RetryFailed, "pause": o.Pause, "resume": o.Resume} {
		for _, base := range []string{"", "/api/v1"} {
			routes = append(routes,
				noted("POST "+base+"/jobs/{id}/"+verb, access.Operate, m.order("/jobs/", m.ownJob, do)),
				noted("POST "+base+"/batches/{id}/"+verb, access.Operate, m.order("/batches/", m.ownBatch, do)))
		}
	}
	return routes
}

// serveAll is everything, with its protection: from the outside in the headers of every
// answer, the base path, the name that was called, what other sites send, and the route.
func (m *Monitor) serveAll() http.Handler {
	all := http.NewServeMux()
	all.HandleFunc("GET /healthz", healthy)
	all.HandleFunc("GET /readyz", m.ready)
	all.Handle("/", m.ownName(http.NewCrossOriginProtection().Handler(m.gate.Mux(m.routes(), m.refuse))))
	return m.secured(underBasePath(m.cfg.BasePath, all))
}
