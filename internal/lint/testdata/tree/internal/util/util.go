// Package util is a place the layout does not know.
package util // want "package internal/util has no place in the layout"
