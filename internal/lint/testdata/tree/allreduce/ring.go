package allreduce

import (
	"math"
	"math/rand" // want "math/rand in a result path"
	"os"

	"github.com/somebody/magic" // want "belongs to no module that torc uses"
	"github.com/spf13/viper"    // want "may not import github.com/spf13/viper: that is for internal/config"
	_ "image/png"               // want "import image/png for its effects"

	"github.com/torctrain/torc/internal/detmath"
	"github.com/torctrain/torc/internal/view"
	"github.com/torctrain/torc/model" // want "allreduce may not import model"
)

func init() { // want "init function"
	viper.Set("a", magic.Number)
}

// Sum breaks what it can.
func Sum(v view.View, m model.DType) float64 {
	if v.Number == 0 {
		os.Exit(1) // want "os.Exit outside main.go"
	}
	// TODO: later // want "TODO: do it"
	x := math.Sqrt(math.Abs(rand.Float64())) + float64(math.MaxInt16)
	return detmath.Exp(x) + math.Exp(x) // want "math.Exp in a result path"
}
