package monitor_test

import (
	"testing"

	"go.uber.org/goleak"

	"oneflow/internal/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(storetest.Wrap(m)) }
