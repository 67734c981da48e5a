package lint

import (
	"slices"
	"strings"
)

// may is the table of docs/architecture.md: the packages of torc that each package may import, tests apart. What is not
// listed is forbidden; a package that is not a key may not exist.
var may = map[string][]string{
	"coordinator": {
		"coordinator/control", "internal/config", "internal/spec", "internal/cluster", "internal/trust", "internal/admin", "internal/pb", "internal/files", "internal/drills", "internal/hub",
		"checkpoints", "checkpoints/adapter", "methods", "sharding", "allreduce", "model", "model/cpu", "model/safetensors", "model/tokenizer",
		"internal/cache",
	},
	"node": {
		"node/train", "internal/config", "internal/spec", "internal/cluster", "internal/trust", "internal/admin", "internal/pb", "internal/files", "internal/view",
		"allreduce", "checkpoints", "methods", "sharding", "model", "model/cpu", "model/cuda", "model/tokenizer",
	},
	"coordinator/control": {"sharding", "checkpoints", "internal/spec", "internal/view", "internal/cluster", "internal/trust", "internal/pb", "internal/files"},
	"node/train": {
		"allreduce", "sharding", "methods", "checkpoints", "model", "model/tokenizer",
		"internal/spec", "internal/view", "internal/cluster", "internal/pb", "internal/files", "internal/cache",
	},

	"allreduce":   {"internal/view", "internal/pb"},
	"sharding":    {"internal/view", "internal/files", "model/tokenizer"}, // files: what killed processes left
	"methods":     {"model"},
	"checkpoints": {"methods", "model", "model/safetensors", "internal/view", "internal/pb"},

	"checkpoints/adapter": {"methods", "model", "model/safetensors"},

	"model":             {"model/safetensors"},
	"model/cpu":         {"model"},
	"model/cuda":        {"model"},
	"model/kerneltest":  {"model"},
	"model/safetensors": {},
	"model/tokenizer":   {"model/jinja"},
	"model/jinja":       {},

	"internal/cluster": {"internal/view", "internal/pb", "internal/trust"},
	"internal/config":  {"internal/spec"},
	"internal/spec":    {"sharding", "methods", "allreduce", "checkpoints", "model"},
	"internal/trust":   {},
	"internal/admin":   {},
	"internal/view":    {},
	"internal/pb":      {"internal/view"},
	"internal/lint":    {},
	"internal/files":   {},
	"internal/hub":     {},
	"internal/cache":   {},
	"internal/drills":  {},
	"internal/rng":     {},
	"internal/detmath": {},
	"internal/durable": {},
	"internal/e2e":     everything,
	"internal/pages":   everything, // for tests
	"internal/sim":     {},         // tests alone
	"bench":            {},
}

// everything stands for all packages.
var everything = []string{"*"}

// basics know nothing of torc, and may be imported by anyone.
var basics = []string{"internal/rng", "internal/detmath", "internal/durable"}

// modules names the packages that may import a module of others, with all below it; no users means tests only. A module
// that is not listed may not be used at all: a new one needs a reason, in the commit and in docs/architecture.md.
var modules = map[string][]string{
	"github.com/spf13/viper":              {"internal/config"},
	"github.com/spf13/cobra":              {"coordinator", "node"},
	"github.com/spf13/pflag":              {"coordinator", "node", "internal/config"},
	"github.com/hashicorp/memberlist":     {"internal/cluster"},
	"github.com/klauspost/reedsolomon":    {"checkpoints"},
	"go.etcd.io/bbolt":                    {"coordinator/control"},
	"google.golang.org/grpc":              {"coordinator", "coordinator/control", "node", "node/train", "allreduce", "internal/cluster", "internal/config"},
	"google.golang.org/protobuf":          {"coordinator", "coordinator/control", "node", "node/train", "checkpoints", "internal/cluster"},
	"golang.org/x/time":                   {"coordinator/control", "node/train"}, // rate limits
	"github.com/prometheus/client_golang": {"coordinator/control", "node", "internal/admin"},
	"gorgonia.org/tensor":                 {"coordinator", "node", "methods", "model", "model/cpu"},
	"go4.org/unsafe/assume-no-moving-gc":  {"methods", "model", "model/cpu"},
	"github.com/klauspost/cpuid/v2":       {"model/cpu"},
	"github.com/dlclark/regexp2":          {"model/tokenizer"},
	"github.com/klauspost/compress":       {"sharding"},
	"github.com/parquet-go/parquet-go":    {"sharding"},
	"go.yaml.in/yaml/v3":                  {"internal/spec"},
	"github.com/zeebo/xxh3":               everything,
	"golang.org/x/sync":                   everything,
	"golang.org/x/sys":                    everything,
	"golang.org/x/term":                   {"coordinator", "node"},
	"gonum.org/v1/gonum":                  {},
	"pgregory.net/rapid":                  {},
	"go.uber.org/goleak":                  {},
	"github.com/google/go-cmp":            {},
	"github.com/rogpeppe/go-internal":     {},
}

// Imports checks who imports whom.
func Imports(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.Files {
		if f.Test || f.Made {
			continue
		}
		allowed, known := may[f.Dir]
		if strings.HasPrefix(f.Dir, "bench/") {
			allowed, known = everything, true // yardsticks and what they are held to
		}
		if !known {
			found = append(found, t.find(f.AST.Package, "package %s has no place in the layout: add it to docs/architecture.md and to internal/lint, or move the file", f.Dir))
			continue
		}
		for _, s := range f.AST.Imports {
			if why := forbidden(f.Dir, imported(s), allowed); why != "" {
				found = append(found, t.find(s.Pos(), "%s", why))
			}
		}
	}
	return found
}

// forbidden says why the package in dir may not import p, or nothing.
func forbidden(dir, p string, allowed []string) string {
	if p == Module || strings.HasPrefix(p, Module+"/") {
		ours := strings.TrimPrefix(strings.TrimPrefix(p, Module), "/")
		if slices.Contains(allowed, ours) || slices.Contains(allowed, "*") || slices.Contains(basics, ours) && dir != ours {
			return ""
		}
		return dir + " may not import " + ours + ": see the table in docs/architecture.md"
	}
	if !strings.Contains(strings.Split(p, "/")[0], ".") || slices.Contains(allowed, "*") {
		return "" // the standard library, or a package of tests
	}
	for module, users := range modules {
		if !below(p, module) {
			continue
		}
		if slices.Contains(users, dir) || slices.Contains(users, "*") {
			return ""
		}
		return dir + " may not import " + p + ": that is for " + place(users)
	}
	return p + " belongs to no module that torc uses: give the reason for a new one in the commit and add it to internal/lint"
}

// below says whether import path p is module or stands below it.
func below(p, module string) bool { return p == module || strings.HasPrefix(p, module+"/") }

func place(users []string) string {
	if len(users) == 0 {
		return "tests only"
	}
	return strings.Join(users, ", ")
}
