package pages

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	metricName = regexp.MustCompile("`(torc_[a-z_]+(?:\\{[a-z,]+\\})?)`")
	metricDesc = regexp.MustCompile(`fqName: "(torc_[a-z_]+)".*constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}`)
	constLabel = regexp.MustCompile(`="[^"]*"`)
)

// Metrics holds the guide's table to what the collectors of a program (coordinator or node) export: the same names with the
// same labels.
func Metrics(t *testing.T, guide, program string, exported ...prometheus.Collector) {
	t.Helper()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	told, made := map[string]bool{}, map[string]bool{}
	for _, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !slices.Contains([]string{program, "both"}, strings.TrimSpace(cells[2])) {
			continue
		}
		for _, m := range metricName.FindAllStringSubmatch(cells[1], -1) {
			told[m[1]] = true
		}
	}
	for _, c := range exported {
		descs := make(chan *prometheus.Desc)
		go func() { defer close(descs); c.Describe(descs) }()
		for d := range descs {
			if m := metricDesc.FindStringSubmatch(d.String()); m != nil {
				labels := strings.Trim(constLabel.ReplaceAllString(m[2], "")+","+m[3], ",")
				made[m[1]+strings.TrimSuffix("{"+labels+"}", "{}")] = true
			}
		}
	}
	if len(made) < 5 {
		t.Fatalf("only %v are exported: is their description still read right?", slices.Sorted(maps.Keys(made)))
	}
	for name := range told {
		if !made[name] {
			t.Errorf("%s tells of %s, which no %s exports", guide, name, program)
		}
	}
	for name := range made {
		if !told[name] {
			t.Errorf("a %s exports %s, of which %s does not tell", program, name, guide)
		}
	}
}
