package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// fromText reads the settings that may come as text, from the environment, into the types they have.
func fromText(from, to reflect.Type, data any) (any, error) {
	text, isText := data.(string)
	switch {
	case to == reflect.TypeFor[map[string]string]():
		return labels(from, data)
	case to == reflect.TypeFor[Bytes]() && isText:
		var b Bytes
		err := b.UnmarshalText([]byte(text))
		return b, err
	case to.Kind() == reflect.Bool && isText:
		on, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("%q is neither true nor false", text)
		}
		return on, nil
	case to.Kind() == reflect.Int && isText:
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not a whole number", text)
		}
		return n, nil
	}
	return data, nil
}

// labels reads labels: a mapping, or text like zone=a,rack=7. Keys become lower case, as those of a
// file do.
func labels(from reflect.Type, data any) (map[string]string, error) {
	all := map[string]string{}
	switch data := data.(type) {
	case string:
		for _, pair := range strings.Split(data, ",") {
			key, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
			if !ok || key == "" {
				return nil, fmt.Errorf("labels %q: use key=value, separated by commas", data)
			}
			all[strings.ToLower(key)] = value
		}
	case map[string]string:
		for key, value := range data {
			all[strings.ToLower(key)] = value
		}
	case map[string]any:
		for key, value := range data {
			all[strings.ToLower(key)] = fmt.Sprint(value)
		}
	default:
		return nil, fmt.Errorf("labels are %v: use a mapping of keys to values", from)
	}
	return all, nil
}
