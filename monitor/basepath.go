package monitor

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// CheckBasePath refuses what is no path of plain segments, such as "/oneflow".
func CheckBasePath(base string) error {
	plain := regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$`)
	if len(base) > 200 || !plain.MatchString(base) {
		return fmt.Errorf("%.40q: a base path is such as /oneflow, of letters, digits, ., _, ~ and -, without a slash at its end", base)
	}
	return nil
}

// underBasePath serves requests whose path begins with the base path, without it,
// and all others as they are: a proxy may strip it, and probes need not know it.
func underBasePath(base string, next http.Handler) http.Handler {
	if base == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		clean := cleanPath(r.URL.Path)
		if clean == base {
			clean += "/"
		}
		// The mux would redirect to the clean path itself, and knows of no base path.
		if clean != r.URL.Path {
			to := url.URL{Path: base + "/" + strings.TrimPrefix(strings.TrimPrefix(clean, base+"/"), "/"), RawQuery: r.URL.RawQuery}
			http.Redirect(w, r, to.String(), http.StatusMovedPermanently)
			return
		}
		if !strings.HasPrefix(r.URL.Path, base+"/") {
			next.ServeHTTP(w, r)
			return
		}
		inner := r.Clone(r.Context())
		inner.URL = &url.URL{
			Path: strings.TrimPrefix(r.URL.Path, base), RawPath: strings.TrimPrefix(r.URL.RawPath, base), RawQuery: r.URL.RawQuery,
		}
		next.ServeHTTP(w, inner)
	})
}

// cleanPath is path without empty, "." and ".." segments.
func cleanPath(p string) string {
	clean := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}
