package wire_test

import (
	"time"

	"oneflow/providers"
)

const (
	free    = providers.Unbilled
	unknown = providers.BillingUnknown
)

func now() time.Time { return time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC) }
