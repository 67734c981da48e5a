package spec

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/torctrain/torc/sharding"
)

// A spec may say some things in a shorter way than the fields in which they end: an entry of data.train or data.validation
// may be a mapping with path, and optimizer.betas stands for beta1 and beta2. A rewriter turns these into fields before
// they are read.
type rewriter struct {
	decoder
	sources map[string][]sharding.Source // by the path of the list that they stand in
}

// entry is an entry of a list of files of which more is said than the path.
type entry struct {
	Path    string           `yaml:"path"`
	Weight  float64          `yaml:"weight"`
	Columns sharding.Columns `yaml:"columns"`
	SHA256  string           `yaml:"sha256"`
}

// rewrite changes what stands at path and below.
func (r *rewriter) rewrite(n *yaml.Node, path string) error {
	n = resolve(n)
	switch path {
	case "data.train", "data.validation":
		return r.entries(n, path)
	case "optimizer":
		return r.betas(n)
	case "", "data":
		for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			if err := r.rewrite(n.Content[i+1], join(path, n.Content[i].Value)); err != nil {
				return err
			}
		}
	}
	return nil
}

// entries takes what mappings in a list of files say and leaves their paths.
func (r *rewriter) entries(n *yaml.Node, path string) error {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	r.sources[path] = nil
	for i, item := range items {
		item = resolve(item)
		if item.Kind != yaml.MappingNode {
			continue
		}
		var e entry
		if err := r.fill(valueOf(&e), item, fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
		if e.Path == "" {
			return fmt.Errorf("%s: %s[%d] has no path: name a file, a pattern or a URL", r.at(item), path, i)
		}
		if lookup(item, "weight") != nil && e.Weight == 0 {
			return fmt.Errorf("%s: %s[%d].weight is 0: leave the file out, or use a number above 0", r.at(item), path, i)
		}
		r.sources[path] = append(r.sources[path], sharding.Source(e))
		*items[i] = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: e.Path, Line: item.Line}
	}
	return nil
}

// betas writes betas: [a, b] as beta1: a, beta2: b.
func (r *rewriter) betas(n *yaml.Node) error {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if key := n.Content[i]; key.Value == "betas" {
			pair := resolve(n.Content[i+1])
			if err := r.checkBetas(pair); err != nil {
				return err
			}
			one, two := *key, *key
			one.Value, two.Value = "beta1", "beta2"
			n.Content = append(append(append([]*yaml.Node{}, n.Content[:i]...), &one, pair.Content[0], &two, pair.Content[1]), n.Content[i+2:]...)
		}
	}
	return nil
}

func (r *rewriter) checkBetas(n *yaml.Node) error {
	if n.Kind != yaml.SequenceNode || len(n.Content) != 2 {
		return fmt.Errorf("%s: optimizer.betas is %s: use two numbers, for example [0.9, 0.999]", r.at(n), show(n))
	}
	return nil
}

// overrides rewrites one override, which may become two.
func (r *rewriter) overrides(o override) ([]override, error) {
	path := strings.Join(o.path, ".")
	if path != "optimizer.betas" {
		return []override{o}, r.rewrite(o.value, path)
	}
	if err := r.checkBetas(o.value); err != nil {
		return nil, err
	}
	return []override{
		{o.text, []string{"optimizer", "beta1"}, o.value.Content[0]},
		{o.text, []string{"optimizer", "beta2"}, o.value.Content[1]},
	}, nil
}
