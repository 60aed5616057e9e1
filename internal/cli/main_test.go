package cli_test

import (
	"testing"

	"oneflow/internal/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }
