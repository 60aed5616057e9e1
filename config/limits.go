package config

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"oneflow/providers"
)

// Limits bound the use of a provider. Nil: not said; 0: no limit. They are flags of `monitor
// limits set`, too.
type Limits struct {
	RPS        *int64 `yaml:"rps" help:"Requests a second; 0: no limit. So it is with all of these." placeholder:"N"`
	RPM        *int64 `yaml:"rpm" help:"Requests a minute." placeholder:"N"`
	RPD        *int64 `yaml:"rpd" help:"Requests a day." placeholder:"N"`
	TPM        *int64 `yaml:"tpm" help:"Tokens a minute, input and output together." placeholder:"N"`
	ITPM       *int64 `yaml:"itpm" help:"Input tokens a minute." placeholder:"N"`
	OTPM       *int64 `yaml:"otpm" help:"Output tokens a minute." placeholder:"N"`
	Concurrent *int64 `yaml:"concurrent" help:"Calls under way at once, in all workers." placeholder:"N"`
}

// fields holds the dimensions by their names in the file.
func (l Limits) fields() map[string]*int64 {
	return map[string]*int64{
		"rps": l.RPS, "rpm": l.RPM, "rpd": l.RPD, "tpm": l.TPM, "itpm": l.ITPM, "otpm": l.OTPM, "concurrent": l.Concurrent,
	}
}

// asMap holds the dimensions that are set, by their names in the file.
func (l Limits) asMap() map[string]int64 {
	out := map[string]int64{}
	for name, n := range l.fields() {
		if n != nil {
			out[name] = *n
		}
	}
	return out
}

// Known returns the limits that are set; a dimension that is not is 0.
func (l Limits) Known() (limits providers.Limits) {
	for name, n := range l.asMap() {
		limits = limits.With(providers.Dimension(name), n)
	}
	return limits
}

// Written lists the dimensions that are set.
func (l Limits) Written() (dimensions []providers.Dimension) {
	for _, name := range slices.Sorted(maps.Keys(l.asMap())) {
		dimensions = append(dimensions, providers.Dimension(name))
	}
	return dimensions
}

// LimitsByName returns the provider's limits by their names in the file, the
// kind's defaults included, and which of them the file sets.
func (p Provider) LimitsByName() (limits map[string]int64, written []string) {
	limits = map[string]int64{}
	usual := p.descriptor().Limits
	if own := p.Known().Limits; own != (providers.Limits{}) {
		usual = own
	}
	for _, dimension := range providers.Dimensions() {
		if n := usual.Of(dimension); n != 0 {
			limits[string(dimension)] = n
		}
	}
	own := p.Limits.asMap()
	maps.Copy(limits, own)
	return limits, slices.Sorted(maps.Keys(own))
}

// Class names the class of models that calls of a model are counted with: the longest
// name in ModelLimits that begins it, else what the kind says, or providers.OtherModels; empty where
// all calls are counted together.
func (p Provider) Class(model string) string {
	class, named := "", false
	for name := range p.ModelLimits {
		if strings.HasPrefix(model, name) && len(name) > len(class) {
			class, named = name, true
		}
	}
	if of := p.descriptor().Class; !named && of != nil {
		return of(model)
	} else if !named && len(p.ModelLimits) > 0 {
		return providers.OtherModels
	}
	return class
}

// Classed reports whether limits hold for each class of models.
func (p Provider) Classed() bool { return p.descriptor().Class != nil || len(p.ModelLimits) > 0 }

// maxLimit bounds every limit: more is no limit, and 0 says so.
const maxLimit = 1_000_000_000_000

// maxBurst bounds Burst. A burst as deep as the provider's own makes refusals.
const maxBurst = 1000

// check checks the limits at a place in the file.
func (l Limits) check(at string) error {
	written := l.asMap()
	for _, name := range slices.Sorted(maps.Keys(written)) {
		switch n := written[name]; {
		case n < 0:
			return fmt.Errorf("%s.%s: must be positive, got %d; 0 means no limit", at, name, n)
		case n > maxLimit:
			return fmt.Errorf("%s.%s: must be at most %d, got %d; 0 means no limit", at, name, int64(maxLimit), n)
		}
	}
	return nil
}

// checkUse checks what bounds the use of the provider.
func (p Provider) checkUse() error {
	if err := p.Limits.check("limits"); err != nil {
		return err
	}
	for _, model := range slices.Sorted(maps.Keys(p.ModelLimits)) {
		if model == "" || len(model) > 256 || strings.ContainsAny(model, "@ ,{}") {
			return fmt.Errorf("model_limits: %.60q is no name of a model, nor the beginning of one", model)
		}
		if err := p.ModelLimits[model].check("model_limits." + model); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		name  string
		value int
		most  int
		zero  string
	}{
		{"burst", p.Burst, maxBurst, "the default"},
		{"concurrency", p.Concurrency, math.MaxInt32, "by itself"},
		{"min_concurrency", p.MinConcurrency, math.MaxInt32, "no bound"},
		{"max_concurrency", p.MaxConcurrency, math.MaxInt32, "no bound"},
		{"dispatch_window", p.DispatchWindow, 1_000_000, "by itself"},
	} {
		if f.value < 0 || f.value > f.most {
			return fmt.Errorf("%s: must be from 0 (%s) to %d, got %d", f.name, f.zero, f.most, f.value)
		}
	}
	if p.MaxConcurrency > 0 && p.MaxConcurrency < p.MinConcurrency {
		return fmt.Errorf("max_concurrency: must be at least min_concurrency, which is %d, got %d", p.MinConcurrency, p.MaxConcurrency)
	}
	return nil
}
