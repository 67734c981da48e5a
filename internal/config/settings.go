package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// DefaultCoordinator is where a coordinator serves and is looked for unless told otherwise.
const DefaultCoordinator = "127.0.0.1:7170"

// Settings are those of either binary; fields that a binary has not are left empty.
type Settings struct {
	// Home is the directory of all state. Default ~/.local/state/torc.
	Home string `mapstructure:"home"`
	// Listen is the host:port to serve on, see cluster.Listen. Default: a coordinator's is DefaultCoordinator.
	Listen string `mapstructure:"listen"`
	// Advertise is the host or host:port under which others reach this process. Default: the one it listens on.
	Advertise string `mapstructure:"advertise"`

	// Coordinator is the host:port that commands talk to. Default DefaultCoordinator.
	Coordinator string `mapstructure:"coordinator"`

	// Insecure is whether connections and gossip go without certificates and encryption. Default false.
	Insecure bool `mapstructure:"insecure"`
	// Trust is the directory of a coordinator's CA, tokens and revocations. Default: the name of Home with -trust after it;
	// with CA, trust below Home.
	Trust string `mapstructure:"trust"`
	// CA is, of a coordinator, a directory with the CA's certificate and key (tls.crt and tls.key, or ca.crt and ca.key),
	// which is only read; default: the coordinator makes one in Trust. Of a node, it is a file with the CA's certificate, for
	// tokens that do not name it.
	CA string `mapstructure:"ca"`
	// PoolToken is a file with a secret with which nodes may join as often as they like, on both sides. A node needs CA
	// beside it. Default: none.
	PoolToken string `mapstructure:"pool_token"`
	// Identity is the file of the certificate with which commands call the coordinator. Default identity.pem below Home.
	Identity string `mapstructure:"identity"`
	// Token with which a node joins, and TokenFile that it stands in. Default: none; a node that has joined needs none.
	Token     string `mapstructure:"token"`
	TokenFile string `mapstructure:"token_file"`

	// Admin is the host:port of metrics and health, Pprof that of profiles, on loopback. Default: neither is served.
	Admin string `mapstructure:"admin"`
	Pprof string `mapstructure:"pprof"`
	// LogFormat is text or json. Default text.
	LogFormat string `mapstructure:"log_format"`

	// Name of a node, unique in its cluster. Default: the host's.
	Name string `mapstructure:"name"`
	// Threads a node computes with. Default 0: one per core.
	Threads int `mapstructure:"threads"`
	// Memory a run may use on a node, in bytes; B, kB, MB, GB, KiB, MiB, GiB may follow. Default 0: no limit.
	Memory Bytes `mapstructure:"memory"`
	// Labels say where a node is, for example zone=a. Keys are lower case. Default: none.
	Labels map[string]string `mapstructure:"labels"`
	// CPU names the kernels: auto, avx512, avx2 or portable. Default auto.
	CPU string `mapstructure:"cpu"`
	// Leash makes a node leave when its standard input closes. A flag only.
	Leash bool `mapstructure:"leash"`
}

// roles are the settings of each binary, with their defaults.
var roles = map[string]map[string]any{
	"coordinator": {
		"home": "", "listen": "", "advertise": "", "coordinator": DefaultCoordinator,
		"insecure": false, "trust": "", "ca": "", "pool_token": "", "identity": "",
		"admin": "", "pprof": "", "log_format": "text",
	},
	"node": {
		"insecure": false, "ca": "", "token": "", "token_file": "", "pool_token": "",
		"admin": "", "pprof": "", "log_format": "text",
		"home": "", "listen": "", "advertise": "", "name": "", "threads": 0, "memory": "0", "labels": map[string]string{},
		"cpu": "auto", "leash": false,
	},
}

// flagOf are settings whose flag has another name.
var flagOf = map[string]string{"labels": "label", "pool_token": "pool-token", "token_file": "token-file", "log_format": "log-format"}

// Load reads the settings of role, "coordinator" or "node". Flags count when they are set; those that are no settings are
// ignored. The flag config names the file, which otherwise need not exist.
func Load(flags *pflag.FlagSet, role string) (*Settings, error) {
	known, ok := roles[role]
	if !ok {
		panic("config: Load: no role " + role)
	}
	v := viper.New()
	for key, value := range known {
		v.SetDefault(key, value)
		if err := bind(v, flags, key); err != nil {
			return nil, fmt.Errorf("bind setting %s: %w", key, err)
		}
	}
	home, err := homeDir(v.GetString("home")) // flag or environment: a file cannot say where it is
	if err != nil {
		return nil, err
	}
	v.SetDefault("home", home)
	if role == "coordinator" {
		trust := home + "-trust" // beside home, so that who copies the data does not copy the CA's key
		if v.GetString("ca") != "" {
			trust = filepath.Join(home, "trust") // has no key in it then
		}
		v.SetDefault("trust", trust)
		v.SetDefault("identity", filepath.Join(home, "identity.pem"))
	}
	if err := readFile(v, flags, filepath.Join(home, role+".yaml")); err != nil {
		return nil, err
	}
	if err := onlyKnown(v, known); err != nil {
		return nil, err
	}
	s := &Settings{}
	if err := v.UnmarshalExact(s, viper.DecodeHook(fromText)); err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	return s, s.validate(role)
}

// bind connects a setting to its environment variable and its flag.
func bind(v *viper.Viper, flags *pflag.FlagSet, key string) error {
	if key != "leash" {
		if err := v.BindEnv(key, "TORC_"+strings.ToUpper(key)); err != nil {
			return err
		}
	}
	name := key
	if other, ok := flagOf[key]; ok {
		name = other
	}
	if f := flags.Lookup(name); f != nil {
		return v.BindPFlag(key, f)
	}
	return nil
}

func homeDir(home string) (string, error) {
	if home == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the home directory: %w: give --home or set TORC_HOME", err)
		}
		home = filepath.Join(user, ".local", "state", "torc")
	}
	return filepath.Abs(home)
}

// readFile reads the file that the flag config names, else the default one if it exists.
func readFile(v *viper.Viper, flags *pflag.FlagSet, path string) error {
	asked := false
	if f := flags.Lookup("config"); f != nil && f.Value.String() != "" {
		path, asked = f.Value.String(), true
	}
	v.SetConfigFile(path)
	v.SetConfigType("yaml")
	err := v.ReadInConfig()
	if errors.Is(err, fs.ErrNotExist) && !asked {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read settings file %s: %w", path, err)
	}
	return nil
}

// onlyKnown refuses keys of the file that are no settings of this binary.
func onlyKnown(v *viper.Viper, known map[string]any) error {
	for _, key := range slices.Sorted(slices.Values(v.AllKeys())) {
		section, _, nested := strings.Cut(key, ".")
		if _, ok := known[section]; !ok || nested && section != "labels" || key == "leash" && v.InConfig(key) {
			keys := slices.DeleteFunc(slices.Sorted(maps.Keys(known)), func(k string) bool { return k == "leash" })
			return fmt.Errorf("read settings file %s: unknown key %q: known are %s", v.ConfigFileUsed(), key, strings.Join(keys, ", "))
		}
	}
	return nil
}

func (s *Settings) validate(role string) error {
	switch {
	case s.Threads < 0:
		return fmt.Errorf("threads is %d: use at least 1, or 0 for one per core", s.Threads)
	case s.Memory < 0:
		return fmt.Errorf("memory is %d: use a number of bytes, or 0 for no limit", s.Memory)
	case role == "node" && !slices.Contains([]string{"auto", "avx512", "avx2", "portable"}, s.CPU):
		return fmt.Errorf("cpu is %q: use auto, avx512, avx2 or portable", s.CPU)
	case s.Token != "" && s.TokenFile != "":
		return errors.New("token and token_file are both given: use one")
	case role == "node" && s.PoolToken != "" && s.CA == "":
		return errors.New("pool_token is given without ca: a pool's secret does not name the cluster, the CA's certificate does")
	case s.LogFormat != "text" && s.LogFormat != "json":
		return fmt.Errorf("log_format is %q: use text or json", s.LogFormat)
	case len(s.Labels) > 16:
		return fmt.Errorf("labels are %d: use at most 16", len(s.Labels))
	}
	return nil
}

// Bytes is a size.
type Bytes int64

var units = []struct {
	suffix string
	bytes  float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}

// UnmarshalText reads a number with an optional unit, like 16GiB.
func (b *Bytes) UnmarshalText(text []byte) error {
	for _, u := range units {
		number, ok := strings.CutSuffix(string(text), u.suffix)
		if !ok {
			continue
		}
		x, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(x >= 0 && x*u.bytes < 1<<62) {
			break
		}
		*b = Bytes(x * u.bytes)
		return nil
	}
	return fmt.Errorf("size %q: use a number of bytes, or one with B, kB, MB, GB, KiB, MiB or GiB", text)
}
