package view

import (
	"math"
	"os"

	"github.com/torctrain/torc/methods"
)

// Tests are free to import anything and to end as they like.
func ending() { os.Exit(int(math.Exp(float64(methods.Count)))) }
