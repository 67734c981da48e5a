package main

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/torctrain/torc/internal/pb"
)

// amount is n with the word for one or for more.
func amount(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

func membersText(n int) string { return amount(n, "member", "members") }

// bytesText is a number of bytes for people.
func bytesText(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, units := float64(n)/unit, "kMGT"
	for v >= unit && len(units) > 1 {
		v, units = v/unit, units[1:]
	}
	return fmt.Sprintf("%.1f %cB", v, units[0])
}

// lossText is the loss of a run's last step, if it has made one: a run that begins with the State of another has steps behind
// it that it did not make.
func lossText(r *pb.RunInfo) string {
	if r.Step == 0 || r.LossLast == 0 && r.TokensPerSecond == 0 {
		return "-"
	}
	return fmt.Sprintf("%.4f", r.LossLast)
}

// visible keeps what data, or a node, may say from steering a terminal.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}
