// Package view is a specimen.
package view

import "github.com/torctrain/torc/internal/pb" // want "internal/view may not import internal/pb"

var _ pb.View
