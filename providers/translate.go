package providers

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Translation makes requests for one provider into requests for another. What is
// asked stays the same: a request that the other provider cannot do as asked is
// refused. Only the model and hints in one vendor's words are replaced or left out.
type Translation struct {
	// Kinds are the kinds of the providers by name.
	Kinds map[string]string
	// Capabilities returns what a kind can do; ok is false where there is no such
	// kind.
	Capabilities func(kind string) (c Capabilities, ok bool)
	// Presets are those of the providers that are servers known by name.
	Presets map[string]Preset
	// Model returns what stands at provider to for the model of a request that was
	// made for from; ok is false where there is none. Nil: the default of the kind.
	Model func(to string, task Task, from, model string) (name string, ok bool)
}

// Translate returns req as provider to takes it. The error names the option that
// cannot be had there, and no value of it.
func (t Translation) Translate(from, to string, req Request) (Request, error) {
	fromKind, toKind := t.Kinds[from], t.Kinds[to]
	can, ok := t.Capabilities(toKind)
	if !ok {
		return req, fmt.Errorf("its kind %q is not known", toKind)
	}
	can = t.Presets[to].Narrow(can)
	where := "extra."
	if req.Body != nil {
		where = "body."
		if fromKind == toKind {
			req.Model, ok = t.model(from, to, can.Tasks[req.Task], req)
			if !ok {
				return req, fmt.Errorf("it has no model to use in the place of %q", req.Model)
			}
			return req, nil
		}
		had, _ := t.Capabilities(fromKind)
		named, unknown, err := had.Named(req)
		if err != nil || len(unknown) > 0 {
			return req, fmt.Errorf("it has no equivalent of the body's %s", append(unknown, "fields")[0])
		}
		req = named
	}
	task, ok := can.Tasks[req.Task]
	if !ok {
		return req, fmt.Errorf("it does no %s", req.Task)
	}
	req.Model, ok = t.model(from, to, task, req)
	if !ok {
		return req, fmt.Errorf("it has no model to use in the place of %q", req.Model)
	}
	if fromKind != toKind {
		from, _ := t.Capabilities(fromKind)
		for _, name := range slices.Sorted(maps.Keys(req.Extra)) {
			if !slices.Contains(from.Hints, name) {
				return req, fmt.Errorf("it has no equivalent of the request's %s%s", where, shortName(name))
			}
		}
		if i := slices.IndexFunc(req.Tools, func(t Tool) bool { return t.Own != nil }); i >= 0 {
			return req, fmt.Errorf("it has no equivalent of the request's tools[%d]", i)
		}
		req = withoutHints(req, task)
	}
	if size, ratio := req.Size, req.AspectRatio; size != "" || ratio != "" {
		var err error
		if req, err = shape(can, task, req); err != nil {
			return req, err
		}
	}
	for _, drop := range []func(*Request){
		func(*Request) {},
		func(r *Request) { r.OutputFormat = "" },
		func(r *Request) { r.Background = "" },
		func(r *Request) { r.Seed = nil },
		func(r *Request) { r.Speed = nil },
	} {
		if drop(&req); can.Check(req) == nil {
			return req, nil
		}
		if fromKind == toKind {
			break
		}
	}
	return req, cannot(can.Check(req))
}

// model returns the stand-in for the request's model at the other provider.
func (t Translation) model(from, to string, task TaskCapabilities, req Request) (string, bool) {
	if t.Model == nil {
		return task.DefaultModel, true
	}
	return t.Model(to, req.Task, from, req.Model)
}

// withoutHints leaves out what is said in the words of one vendor, and what the
// other has no option for. None of it changes what is asked for.
func withoutHints(req Request, task TaskCapabilities) Request {
	req.Voice, req.VoiceSettings, req.Style, req.Quality, req.Extra = "", nil, "", "", nil
	takes := func(option string) bool { return slices.Contains(task.Options, option) }
	if req.N == 1 { // as if it were not said
		req.N = 0
	}
	if !takes("background") {
		req.Background = ""
	}
	if !takes("seed") {
		req.Seed = nil
	}
	if !takes("speed") {
		req.Speed = nil
	}
	if !takes("output_format") {
		req.OutputFormat = ""
	}
	return req
}

// cannot is the reason why a request cannot be done, without the values that the check
// names.
func cannot(err error) error {
	what, _, _ := strings.Cut(err.Error(), ":")
	if option, name, ok := strings.Cut(what, " "); ok && option == "option" {
		what = strings.Trim(name, `"`)
	} else if !strings.HasPrefix(name, "(") { // the type of a part
		what = option
	}
	return fmt.Errorf("it cannot do the request's %s", what)
}

// ratios are the aspect ratios that have names.
func ratios() []string {
	return []string{"1:1", "5:4", "4:5", "4:3", "3:4", "3:2", "2:3", "16:9", "9:16", "21:9", "9:21"}
}

// shape gives a picture's shape as the provider takes it: its size in pixels, or
// its aspect ratio.
func shape(can Capabilities, task TaskCapabilities, req Request) (Request, error) {
	if req.Size == "auto" {
		req.Size = ""
	}
	// Whether the shape fits is asked of the shape alone.
	fits := func(size, ratio string) bool {
		probe := Request{Task: req.Task, Model: req.Model, Prompt: "p", Size: size, AspectRatio: ratio}
		return can.Check(probe) == nil
	}
	if fits(req.Size, req.AspectRatio) {
		return req, nil
	}
	shaped := req
	shaped.Size, shaped.AspectRatio = "", ""
	width, height, ok := proportions(req)
	if !ok {
		return req, errors.New("it cannot do the request's size")
	}
	if slices.Contains(task.Options, "aspect_ratio") {
		for _, ratio := range ratios() {
			w, h, _ := split(ratio, ":")
			if near(width/height, w/h) && fits("", ratio) {
				shaped.AspectRatio = ratio
				return shaped, nil
			}
		}
	}
	if slices.Contains(task.Options, "size") {
		longSides := []float64{1536, 1024, 1280, 1792}
		if width == height {
			longSides = []float64{1024}
		}
		for _, long := range longSides {
			w, h := long, long
			if width > height {
				h = math.Round(long*height/width/16) * 16
			} else {
				w = math.Round(long*width/height/16) * 16
			}
			if size := fmt.Sprintf("%.0fx%.0f", w, h); near(width/height, w/h) && fits(size, "") {
				shaped.Size = size
				return shaped, nil
			}
		}
	}
	return req, errors.New("it cannot do the request's size or aspect_ratio")
}

// proportions are those of the picture that is asked for.
func proportions(req Request) (width, height float64, ok bool) {
	if req.AspectRatio != "" {
		return split(req.AspectRatio, ":")
	}
	return split(req.Size, "x")
}

func split(s, by string) (a, b float64, ok bool) {
	first, second, found := strings.Cut(s, by)
	a, errA := strconv.ParseFloat(first, 64)
	b, errB := strconv.ParseFloat(second, 64)
	return a, b, found && errA == nil && errB == nil && a > 0 && b > 0 && a < 1e6 && b < 1e6
}

// near reports whether two proportions look the same: within a twentieth, as 1792x1024
// does to 16:9.
func near(a, b float64) bool { return math.Abs(a/b-1) < 0.05 }
