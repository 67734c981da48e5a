package cpu

import (
	"testing"

	"github.com/torctrain/torc/model/kerneltest"
)

func TestReferenceGradientsAreDifferenceQuotients(t *testing.T) { kerneltest.Gradients(t, Ref()) }

func TestReferenceMeetsItsOwnSuite(t *testing.T) { kerneltest.Run(t, Ref(), Ref()) }
