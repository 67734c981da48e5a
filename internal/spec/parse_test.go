package spec

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/torctrain/torc/sharding"
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

func TestBetasStandForBeta1AndBeta2(t *testing.T) {
	for _, c := range []struct{ spec, set string }{
		{small + "optimizer: {beta1: 0.8, beta2: 0.98}\n", "seed=42"},
		{small + "optimizer: {betas: [0.8, 0.98]}\n", "seed=42"},
		{small + "optimizer:\n  betas: [0.8, 0.98]\n  lr: 2e-4\n", "seed=42"},
		{small, "optimizer.betas=[0.8, 0.98]"},
		{small, "optimizer={betas: [0.8, 0.98]}"},
		{small + "optimizer: {betas: [0.1, 0.2]}\n", "optimizer.betas=[0.8, 0.98]"},
	} {
		want := Default("lift").Optimizer
		want.Beta1, want.Beta2 = 0.8, 0.98
		if got := parse(t, c.spec, c.set); got.Optimizer != want {
			t.Errorf("%q with %q: %+v, want %+v", c.spec, c.set, got.Optimizer, want)
		}
	}
}

func TestEntriesOfDataMayBeMappings(t *testing.T) {
	const text = `model: base
data:
  train:
    - a.jsonl
    - path: b*.jsonl
      weight: 0.5
      columns: {question: problem, answer: solution}
  validation: {path: v.jsonl, columns: {}}
  columns: {text: body}
method: {name: lift}
steps: 10
`
	b := sharding.Source{Path: "b*.jsonl", Weight: 0.5, Columns: sharding.Columns{"question": "problem", "answer": "solution"}}
	v := sharding.Source{Path: "v.jsonl", Columns: sharding.Columns{}}
	got := parse(t, text).Data
	if d := cmp.Diff(sharding.Config{
		Train: []string{"a.jsonl", "b*.jsonl"}, Validation: []string{"v.jsonl"}, Sources: []sharding.Source{b, v},
		Columns: sharding.Columns{"text": "body"}, MaxTokens: 512, Overflow: "truncate",
	}, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	for path, want := range map[string]sharding.Source{
		"a.jsonl": {Path: "a.jsonl", Columns: sharding.Columns{"text": "body"}}, "b*.jsonl": b, "v.jsonl": v,
	} {
		if d := cmp.Diff(want, got.Source(path)); d != "" {
			t.Errorf("source %s: -want +got\n%s", path, d)
		}
	}
	if got := parse(t, text, "data.train=[c.jsonl, {path: d.jsonl, weight: 3}]").Data.Sources; !reflect.DeepEqual(got, []sharding.Source{{Path: "d.jsonl", Weight: 3}, v}) {
		t.Errorf("after an override the sources are %+v", got)
	}
	if got := parse(t, text, "data.bad_rows=refuse").Data.BadRows; got != "" {
		t.Errorf("bad_rows: refuse is written as %q", got)
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
		{small + "checkpoint: {keep: 1}\n", "", `checkpoint.keep is 1: use 2 to 1000`},
		{small, "method.lead=400", "method.lead is 400: use 0 to 399, less than refresh"},
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
		{"model: base\nmethod: {name: lift}\nsteps: 1\ndata: {train: [{a: b}]}\n", "", `run.yaml:4: unknown key "data.train[0].a", nearest known "data.train[0].path"`},
		{"model: base\nmethod: {name: lift}\nsteps: 1\ndata: {train: [{weight: 2}]}\n", "", "run.yaml:4: data.train[0] has no path"},
		{"model: base\nmethod: {name: lift}\nsteps: 1\ndata: {train: [{path: a, weight: 0}]}\n", "", "run.yaml:4: data.train[0].weight is 0: leave the file out"},
		{"model: base\nmethod: {name: lift}\nsteps: 1\ndata: {train: [{path: a, weight: -1}]}\n", "", `weight of "a" is -1`},
		{small, "data.validation=[{path: v, weight: 2}]", `weight of "v" is 2: only files of data.train have weights`},
		{small, "data.train=[{path: v, sha256: 12}]", `sha256 of "v" is "12": write the 64 digits`},
		{small, "data.columns={txt: a}", `data.columns has key "txt": samples have `},
		{small, "data.columns={text: ''}", "data.columns.text is empty: name the key"},
		{small, "data.columns=text", `data.columns is "text": use name: name`},
		{small, "data.columns={text: a, text: b}", `key "data.columns.text" stands twice`},
		{small, "data.columns={text: [a]}", "data.columns.text is a list: use a text"},
		{small, "data.split=-0.1", "data.split is -0.1: use a share below 1"},
		{small, "data.split=1.5", "data.split is 1.5: use a share below 1 or a whole number"},
		{small, "data={split: 0.1, validation: v}", "data.split is 0.1 and data.validation names files"},
		{small, "data.bad_rows=drop", `data.bad_rows is "drop": use refuse or skip`},
		{small + "optimizer: {betas: 0.9}\n", "", "run.yaml:5: optimizer.betas is 0.9: use two numbers"},
		{small + "optimizer: {betas: [0.9, 0.95, 1]}\n", "", "run.yaml:5: optimizer.betas is a list: use two numbers"},
		{small + "optimizer: {betas: [0.9, x]}\n", "", `optimizer.beta2 is "x": use a number`},
		{small + "optimizer: {beta1: 0.8, betas: [0.9, 0.95]}\n", "", `key "optimizer.beta1" stands twice`},
		{small, "optimizer.betas=[0.9]", "--set optimizer.betas=[0.9]: optimizer.betas is a list: use two numbers"},

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
		{small + "validate: {every: 5}\n", "", "run.yaml: validate.every is 5, but neither data.validation nor data.split is given"},
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
		"string": "x", "int": "1", "int64": "1", "uint64": "1", "float64": "1", "bool": "true", "slice": "[x]", "map": "{text: x}", "Duration": "1s",
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
