package providers

// Limits are how much of a provider one account may use. 0 means: no limit.
type Limits struct {
	// RPS, RPM and RPD are requests a second, a minute and a day.
	RPS int64 `json:"rps,omitempty"`
	RPM int64 `json:"rpm,omitempty"`
	RPD int64 `json:"rpd,omitempty"`
	// TPM is tokens a minute, input and output together (OpenAI).
	TPM int64 `json:"tpm,omitempty"`
	// ITPM and OTPM are input and output tokens a minute (Anthropic).
	ITPM int64 `json:"itpm,omitempty"`
	OTPM int64 `json:"otpm,omitempty"`
	// Concurrent is how many calls may be under way at once (ElevenLabs).
	Concurrent int64 `json:"concurrent,omitempty"`
}

// Dimension is one way in which a provider limits its use, by the name that it
// has in the configuration.
type Dimension string

// The dimensions of Limits, named as its fields.
const (
	DimensionRPS        Dimension = "rps"
	DimensionRPM        Dimension = "rpm"
	DimensionRPD        Dimension = "rpd"
	DimensionTPM        Dimension = "tpm"
	DimensionITPM       Dimension = "itpm"
	DimensionOTPM       Dimension = "otpm"
	DimensionConcurrent Dimension = "concurrent"
)

// Dimensions lists the dimensions, in the order in which they are shown.
func Dimensions() []Dimension {
	return []Dimension{
		DimensionRPS, DimensionRPM, DimensionRPD, DimensionTPM, DimensionITPM, DimensionOTPM, DimensionConcurrent,
	}
}

// field is the field of a dimension; nil where there is no such dimension.
func field(l *Limits, d Dimension) *int64 {
	switch d {
	case DimensionRPS:
		return &l.RPS
	case DimensionRPM:
		return &l.RPM
	case DimensionRPD:
		return &l.RPD
	case DimensionTPM:
		return &l.TPM
	case DimensionITPM:
		return &l.ITPM
	case DimensionOTPM:
		return &l.OTPM
	case DimensionConcurrent:
		return &l.Concurrent
	}
	return nil
}

// Of returns the limit in a dimension; 0: none.
func (l Limits) Of(d Dimension) int64 {
	if f := field(&l, d); f != nil {
		return *f
	}
	return 0
}

// With returns l with another limit in a dimension; 0: none.
func (l Limits) With(d Dimension, n int64) Limits {
	if f := field(&l, d); f != nil {
		*f = n
	}
	return l
}
