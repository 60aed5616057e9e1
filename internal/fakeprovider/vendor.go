package fakeprovider

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// vendor is one vendor's half of the server: what differs between protocols. Each
// stands in files of its own, and knows of no other.
type vendor interface {
	// name is the vendor's, which its paths may begin with.
	name() Vendor
	// routes are its paths, with what answers them.
	routes() []route
	// key is the API key in r; empty where there is none.
	key(r *http.Request) string
	// requestID is its id of call n.
	requestID(n int64) string
	// headers adds what is on each answer. levels tell how full the limits are; nil
	// where the call does not count.
	headers(c *call, h http.Header, levels map[dimension]level)
	// refuse writes a refusal in its words, nothing if it knows no such reason.
	refuse(c *call, why refusal) answer
}

// vendors is the list of all vendors. Where a request at the root of the server
// could be for several, the first goes before the others.
func vendors(config Config) []vendor {
	return []vendor{newOpenAI(config), newAnthropic(config), newStability(config), newElevenLabs(config), newGemini(config)}
}

// reason classifies a refusal.
type reason int

// The reasons. Each vendor has words for all of them.
const (
	unauthorised reason = iota
	outOfMoney
	moderated // for its content, as the vendor usually does
	flagged   // for its content, with 403
	region    // for where it comes from
	limited   // refusal.limit says which
	overloaded
	serverError
	tooLarge
	noSuchPath // refusal.status: 405 where only the method was wrong
)

// refusal is to be put into a vendor's words.
type refusal struct {
	reason reason
	// status is 404 or 405 for noSuchPath, else 0.
	status int
	// limit is the limit that was broken, for limited.
	limit *brokenLimit
}

// route is one path of a vendor. A "*" in the path stands for one segment.
type route struct {
	method string
	path   string
	handle handler
	// generates: it costs something, so that limits and faults apply.
	generates bool
	// maxBody is the largest body that it takes, in bytes; 0: 32 MiB.
	maxBody int64
	// open: it is asked without a key.
	open bool
	// faults are those that its handler makes itself.
	faults []Fault
}

// handler answers one call that has been authenticated.
type handler func(c *call) answer

// route finds who answers c. named is the vendor that stood in the path, if any.
func (s *Server) route(c *call, named vendor) {
	var candidates []vendor
	if named != nil {
		candidates = []vendor{named}
	} else {
		candidates = s.byLikeness(c)
	}
	wrongMethod := false
	for _, v := range candidates {
		for _, r := range v.routes() {
			switch {
			case !matches(r.path, c.path):
			case r.method != c.r.Method:
				wrongMethod = true
			default:
				c.vendor, c.route = v, r
				return
			}
		}
	}
	c.vendor = candidates[0]
	status := http.StatusNotFound
	if wrongMethod {
		status = http.StatusMethodNotAllowed
	}
	c.route = route{handle: func(c *call) answer { return c.refuse(refusal{reason: noSuchPath, status: status}) }}
}

// byLikeness orders the vendors by how much a request looks like one for them: those
// whose header it has a key in first, then those that have a path which begins like
// its own.
func (s *Server) byLikeness(c *call) []vendor {
	likeness := func(v vendor) int {
		longest := 0
		for _, r := range v.routes() {
			longest = max(longest, common(r.path, c.path))
		}
		if v.key(c.r) != "" {
			longest += 100
		}
		return longest
	}
	sorted := slices.Clone(s.vendors)
	slices.SortStableFunc(sorted, func(a, b vendor) int { return likeness(b) - likeness(a) })
	return sorted
}

// common counts the segments that a path has in common with a pattern, from the
// left.
func common(pattern, path string) int {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	n := 0
	for n < len(want) && n < len(got) && (want[n] == got[n] || want[n] == "*" && got[n] != "") {
		n++
	}
	return n
}

func matches(pattern, path string) bool {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	return len(want) == len(got) && common(pattern, path) == len(want)
}

// segment returns part n of the path; the first is 0.
func (c *call) segment(n int) string { return strings.Split(c.path, "/")[n+1] }

// refuse refuses c in its vendor's words. One that has none is a fault of this
// package, and says so.
func (c *call) refuse(why refusal) answer {
	if a := c.vendor.refuse(c, why); a.status != 0 {
		return a
	}
	return answer{
		status: http.StatusNotImplemented, contentType: "text/plain",
		body: []byte("the fake of " + string(c.vendor.name()) + " has no words for reason " + strconv.Itoa(int(why.reason))),
	}
}

// bearer is the key in the Authorization header.
func bearer(r *http.Request) string {
	key, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return strings.TrimSpace(key)
}

func retryAfter(h http.Header, d time.Duration) {
	h.Set("Retry-After", strconv.Itoa(int((d+time.Second-1)/time.Second)))
}
