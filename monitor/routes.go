package monitor

import (
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
	if m.cfg.FrontDoor != nil {
		routes = append(routes, m.cfg.FrontDoor.Routes()...)
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
