package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// flags are those of `node join`, parsed from args.
func flags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	for _, name := range []string{"home", "config", "name", "listen", "advertise", "memory", "coordinator"} {
		f.String(name, "", "")
	}
	f.Int("threads", 0, "")
	f.StringToString("label", nil, "")
	f.Bool("leash", false, "")
	f.Bool("json", false, "") // no setting
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f
}

// clean unsets the variables of whoever runs the tests.
func clean(t *testing.T) string {
	t.Helper()
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "TORC_") {
			t.Setenv(name, "")
		}
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	return home
}

func save(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDefaults(t *testing.T) {
	home := filepath.Join(clean(t), ".local/state/torc")
	for role, want := range map[string]*Settings{
		"coordinator": {Home: home, Coordinator: DefaultCoordinator, Trust: home + "-trust", Identity: filepath.Join(home, "identity.pem"), LogFormat: "text"},
		"node":        {Home: home, LogFormat: "text", CPU: "auto", Labels: map[string]string{}},
	} {
		got, err := Load(flags(t, "--json"), role)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -want +got\n%s", role, d)
		}
	}
}

func TestFlagBeatsEnvironmentBeatsFileBeatsDefault(t *testing.T) {
	home := clean(t)
	t.Setenv("TORC_HOME", home)
	save(t, filepath.Join(home, "node.yaml"), "threads: 1\nname: file\ncpu: avx2\nmemory: 2GiB\nlabels: {Zone: a, rack: 7}\n")
	t.Setenv("TORC_THREADS", "2")
	t.Setenv("TORC_NAME", "env")
	got, err := Load(flags(t, "--threads", "3"), "node")
	if err != nil {
		t.Fatal(err)
	}
	want := &Settings{Home: home, Threads: 3, Name: "env", LogFormat: "text", CPU: "avx2", Memory: 2 << 30, Labels: map[string]string{"zone": "a", "rack": "7"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestLabelsComeFromFlagsAndEnvironment(t *testing.T) {
	clean(t)
	t.Setenv("TORC_LABELS", "Zone=b, rack=8")
	for _, c := range []struct {
		args []string
		want map[string]string
	}{
		{nil, map[string]string{"zone": "b", "rack": "8"}},
		{[]string{"--label", "Zone=a", "--label", "row=3"}, map[string]string{"zone": "a", "row": "3"}},
	} {
		got, err := Load(flags(t, c.args...), "node")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, got.Labels); d != "" {
			t.Errorf("%q: -want +got\n%s", c.args, d)
		}
	}
}

func TestHomeComesFromFlagThenEnvironment(t *testing.T) {
	home := clean(t)
	t.Setenv("TORC_HOME", filepath.Join(home, "env"))
	save(t, filepath.Join(home, "env", "coordinator.yaml"), "listen: :1\n")
	save(t, filepath.Join(home, "flag", "coordinator.yaml"), "listen: :2\n")
	save(t, filepath.Join(home, "other.yaml"), "listen: :3\n")
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, ":1"},
		{[]string{"--home", filepath.Join(home, "flag")}, ":2"},
		{[]string{"--config", filepath.Join(home, "other.yaml")}, ":3"},
	} {
		got, err := Load(flags(t, c.args...), "coordinator")
		if err != nil || got.Listen != c.want {
			t.Errorf("%q: %+v, %v, want listen %s", c.args, got, err, c.want)
		}
	}
}

func TestLoadRefusesWhatItDoesNotUnderstand(t *testing.T) {
	home := clean(t)
	for _, c := range []struct {
		role, file string
		env        [2]string
		args       []string
		want       []string
	}{
		{"node", "threds: 3\n", [2]string{}, nil, []string{"node.yaml", `unknown key "threds"`, "threads"}},
		{"node", "name: {a: 1}\n", [2]string{}, nil, []string{"'name' expected type 'string'"}},
		{"coordinator", "threads: 3\n", [2]string{}, nil, []string{"coordinator.yaml", `unknown key "threads"`}},
		{"node", "leash: true\n", [2]string{}, nil, []string{`unknown key "leash"`}},
		{"node", "threads: many\n", [2]string{}, nil, []string{"threads", "many"}},
		{"node", "threads: [\n", [2]string{}, nil, []string{"node.yaml", "yaml"}},
		{"node", "threads: -1\n", [2]string{}, nil, []string{"threads is -1"}},
		{"node", "memory: lots\n", [2]string{}, nil, []string{`size "lots"`, "GiB"}},
		{"node", "cpu: z80\n", [2]string{}, nil, []string{`cpu is "z80"`, "avx2"}},
		{"node", "", [2]string{"TORC_THREADS", "many"}, nil, []string{"threads", "many"}},
		{"node", "", [2]string{"TORC_LABELS", "zone"}, nil, []string{`labels "zone"`}},
		{"node", "", [2]string{}, []string{"--config", "/nowhere.yaml"}, []string{"/nowhere.yaml", "no such file"}},
	} {
		t.Run(strings.Join(c.want, " "), func(t *testing.T) {
			t.Setenv("TORC_HOME", home)
			save(t, filepath.Join(home, c.role+".yaml"), c.file)
			if c.env[0] != "" {
				t.Setenv(c.env[0], c.env[1])
			}
			s, err := Load(flags(t, c.args...), c.role)
			if err == nil {
				t.Fatalf("Load = %+v", s)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nwant it to say %q", err, want)
				}
			}
		})
	}
}

func TestBytesHaveUnits(t *testing.T) {
	for text, want := range map[string]Bytes{"0": 0, "1024": 1024, "10B": 10, "1.5 GiB": 3 << 29, "2GB": 2e9, "3kB": 3000, "4MiB": 4 << 20} {
		var got Bytes
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q is %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "GiB", "-1", "1e30", "NaN", "5 TB", "0x"} {
		var got Bytes
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %d, want an error", text, got)
		}
	}
}
