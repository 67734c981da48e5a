package spec

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const small = `model: base
data: {train: [train.jsonl]}
method: {name: lift}
steps: 10
`

func TestParseFillsInDefaultsOfTheMethod(t *testing.T) {
	for _, method := range []string{"lift", "full"} {
		got, err := Parse("run.yaml", []byte(strings.Replace(small, "lift", method, 1)), nil)
		if err != nil {
			t.Fatal(err)
		}
		want := Default(method)
		want.Model, want.Steps, want.Data.Train = "base", 10, []string{"train.jsonl"}
		if d := cmp.Diff(&want, got); d != "" {
			t.Errorf("%s: -want +got\n%s", method, d)
		}
	}
}

func TestParseReadsEveryKindOfField(t *testing.T) {
	got, err := Parse("run.yaml", []byte(`
name: arithmetic
model: base
data: {train: [a.jsonl, "b*.jsonl"], validation: val.jsonl, max_tokens: 128, overflow: refuse}
validate: {every: 100}
method: {name: lift, rank: 4, refresh: 50}
optimizer: &o {lr: 6e-3, schedule: cosine, warmup: 10}
batch: {lanes: 8, micro: 2}
epochs: 1.5
seed: 18446744073709551615
reduce: {bits: 24, pack: false, on_nonfinite: skip, hop_timeout: 1500ms}
members: {min: 2, max: 4}
`), []string{"batch.lanes=16", "method={rank: 8}", "data.train=[c.jsonl, d.jsonl]", "name=it's"})
	if err != nil {
		t.Fatal(err)
	}
	want := Default("lift")
	want.Name, want.Model = "it's", "base"
	want.Data.Train, want.Data.Validation = []string{"c.jsonl", "d.jsonl"}, []string{"val.jsonl"}
	want.Data.MaxTokens, want.Data.Overflow = 128, "refuse"
	want.Validate.Every = 100
	want.Method.Rank, want.Method.Refresh = 8, 50
	want.Optimizer.LR, want.Optimizer.Schedule, want.Optimizer.Warmup = 6e-3, "cosine", 10
	want.Batch = Batch{16, 2}
	want.Epochs, want.Seed = 1.5, 1<<64-1
	want.Reduce.Bits, want.Reduce.Pack, want.Reduce.OnNonFinite, want.Reduce.HopTimeout = 24, false, "skip", 1500*time.Millisecond
	want.Members = Members{2, 4}
	if d := cmp.Diff(&want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestMethodOverrideBringsItsDefaults(t *testing.T) {
	for _, set := range []string{"method.name=full", "method={name: full}"} {
		got, err := Parse("run.yaml", []byte(small), []string{set})
		if err != nil {
			t.Fatalf("%s: %v", set, err)
		}
		if want := Default("full"); got.Method != want.Method || got.Optimizer != want.Optimizer {
			t.Errorf("%s: method %+v, optimizer %+v, want those of full", set, got.Method, got.Optimizer)
		}
	}
}

func TestParseRefusesWithPlaceAndRemedy(t *testing.T) {
	for _, c := range []struct{ spec, set, want string }{
		{"", "", "run.yaml: empty"},
		{"- a\n", "", "run.yaml:1: a spec is a mapping"},
		{small + "---\nmodel: b\n", "", "more than one YAML document"},
		{small + "a: [", "", "run.yaml: yaml: line"},
		{small + "step: 3\n", "", `run.yaml:5: unknown key "step", nearest known "steps"`},
		{small + "lr: 3\n", "", `run.yaml:5: unknown key "lr", nearest known "optimizer.lr"`},
		{small + "optimizer:\n  lr: 1e-3\n  shedule: linear\n", "", `run.yaml:7: unknown key "optimizer.shedule", nearest known "optimizer.schedule"`},
		{small + "batch: {lanse: 3}\n", "", `run.yaml:5: unknown key "batch.lanse", nearest known "batch.lanes"`},
		{small + "Seed: 1\n", "", `run.yaml:5: unknown key "Seed", nearest known "seed"`},
		{small + "checkpoint: {every: 10}\n", "", `run.yaml:5: unknown key "checkpoint": State is kept at the end`},
		{small, "method.lead=5", "method.lead is 5: selection in the background is not built yet"},
		{small + "? [a]\n: 1\n", "", "unknown key"},
		{small + "seed: 1\nseed: 2\n", "", `run.yaml:6: key "seed" stands twice, first on line 5`},
		{small + "batch: 32\n", "", "run.yaml:5: batch is 32: use fields, lanes, micro"},
		{small + "batch: {lanes: many}\n", "", `run.yaml:5: batch.lanes is "many": use a whole number`},
		{small + "batch: {lanes: 1.5}\n", "", "run.yaml:5: batch.lanes is 1.5: use a whole number"},
		{small + "batch: {lanes: }\n", "", "run.yaml:5: batch.lanes is empty: use a whole number"},
		{small + "batch: {lanes: [1]}\n", "", "run.yaml:5: batch.lanes is a list: use a whole number"},
		{small + "seed: -1\n", "", "run.yaml:5: seed is -1: use a whole number from 0 up"},
		{small + "reduce: {pack: maybe}\n", "", `run.yaml:5: reduce.pack is "maybe": use true or false`},
		{small + "reduce: {hop_timeout: 2}\n", "", "run.yaml:5: reduce.hop_timeout is 2: use a time with its unit"},
		{small + "optimizer: {lr: fast}\n", "", `run.yaml:5: optimizer.lr is "fast": use a number`},
		{"model: base\nmethod: {name: lift}\nsteps: 1\ndata: {train: [{a: b}]}\n", "", "run.yaml:4: data.train[0] is a mapping: use a text"},

		{"data: {train: [a]}\nmethod: {name: lift}\nsteps: 1\n", "", "run.yaml: model is not given"},
		{"model: base\nmethod: {name: lift}\nsteps: 1\n", "", "run.yaml: data.train is not given"},
		{"model: base\ndata: {train: a}\nsteps: 1\n", "", `run.yaml: method.name is ""`},
		{"model: base\ndata: {train: a}\nmethod: {name: lift}\n", "", "run.yaml: neither steps nor epochs is given"},
		{small + "epochs: 1\n", "", "run.yaml: steps is 10 and epochs is 1: give one of them"},
		{small + "optimizer: {lr: -1}\n", "", "run.yaml: optimizer.lr is -1"},
		{small + "optimizer: {lr: .nan}\n", "", "run.yaml: optimizer.lr is NaN"},
		{small + "reduce: {bits: 40}\n", "", "run.yaml: reduce.bits is 40"},
		{small + "data: {train: [a], max_tokens: 1}\n", "", `key "data" stands twice`},
		{small + "batch: {lanes: 0}\n", "", "run.yaml: batch.lanes is 0: use 1 to"},
		{small + "validate: {every: 5}\n", "", "run.yaml: validate.every is 5, but data.validation is not given"},
		{small + "members: {min: 3, max: 2}\n", "", "run.yaml: members.max is 2: use at least members.min, which is 3"},
		{small + "members: {min: 3}\nbatch: {lanes: 2}\n", "", "run.yaml: members.min is 3, but batch.lanes seats 2"},

		{small, "steps", "--set steps: use key=value"},
		{small, "=1", "--set =1: use key=value"},
		{small, "stepps=1", `--set stepps=1: unknown key "stepps", nearest known "steps"`},
		{small, "batch.lane=1", `--set batch.lane=1: unknown key "batch.lane", nearest known "batch.lanes"`},
		{small, "steps.a=1", "--set steps.a=1: steps has no fields"},
		{small, "steps=", "--set steps=: steps is empty: use a whole number"},
		{small, "steps=ten", `--set steps=ten: steps is "ten": use a whole number`},
		{small, "data.train=[", "--set data.train=[: yaml"},
		{small, "batch.micro=0", "run.yaml: batch.micro is 0"},
	} {
		var set []string
		if c.set != "" {
			set = []string{c.set}
		}
		if s, err := Parse("run.yaml", []byte(c.spec), set); err == nil {
			t.Errorf("Parse(%q, %q) = %+v, want an error with %q", c.spec, c.set, s, c.want)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("Parse(%q, %q): %v\nwant it to say %q", c.spec, c.set, err, c.want)
		}
	}
}

// Every field of every section must be of a type that Parse can fill: a new one of another type fails here, not at a user's.
func TestEveryFieldCanBeParsed(t *testing.T) {
	values := map[string]string{
		"string": "x", "int": "1", "int64": "1", "uint64": "1", "float64": "1", "bool": "true", "slice": "[x]", "Duration": "1s",
	}
	var walk func(section reflect.Type, prefix string)
	walk = func(section reflect.Type, prefix string) {
		for i := range section.NumField() {
			f := section.Field(i)
			key := yamlKey(f)
			if key == "" {
				continue
			}
			if f.Type.Kind() == reflect.Struct {
				walk(f.Type, join(prefix, key))
				continue
			}
			kind := f.Type.Kind().String()
			if f.Type.Name() == "Duration" {
				kind = "Duration"
			}
			o, err := parseOverride(join(prefix, key) + "=" + values[kind])
			if err != nil {
				t.Fatal(err)
			}
			s := Default("lift")
			if err := o.apply(&s); err != nil {
				t.Error(err)
			}
		}
	}
	walk(reflect.TypeFor[Spec](), "")
}

func TestDistanceCountsTyping(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"lanes", "lanes", 0}, {"lane", "lanes", 1}, {"lanse", "lanes", 1}, {"", "abc", 3}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(small, "steps=3")
	f.Add("a: &a [*a]", "a=b")
	f.Add("optimizer: &o {lr: 1}\nbatch: *o\n", "x.y={a: 1}")
	f.Fuzz(func(t *testing.T, text, set string) {
		s, err := Parse("run.yaml", []byte(text), []string{set})
		if err == nil && s.Check() != nil {
			t.Errorf("Parse took what Check refuses: %v", s.Check())
		}
	})
}
