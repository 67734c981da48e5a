package train

import (
	"testing"

	"go.uber.org/goleak"
)

// protocol.md I7: Run returns only when every goroutine it started has ended.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
