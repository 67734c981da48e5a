package spec

import (
	"fmt"
	"math"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/sharding"
)

// Spec is one run as a person describes it. Paths are relative to the directory of the spec's file.
type Spec struct {
	// Name labels the run; it is no part of the result. Default: none.
	Name string `yaml:"name" json:"name,omitempty"`
	// Model is a directory in Hugging Face's layout: config.json, safetensors, tokenizer.json.
	Model string `yaml:"model" json:"model"`
	// Data says which files are trained on, and how samples become tokens.
	Data sharding.Config `yaml:"data" json:"data"`
	// Validate says when the loss on data.validation is measured.
	Validate Validation `yaml:"validate" json:"validate"`
	// Method is what is trained.
	Method methods.Config `yaml:"method" json:"method"`
	// Optimizer is AdamW and the course of its rate; its defaults depend on the method.
	Optimizer methods.Optimizer `yaml:"optimizer" json:"optimizer"`
	// Batch is the global batch of a step.
	Batch Batch `yaml:"batch" json:"batch"`
	// Steps is the number of optimizer updates; 0 leaves it to Epochs.
	Steps int `yaml:"steps" json:"steps"`
	// Epochs is the number of passes over the data, from which Resolve makes Steps. One of the two is given.
	Epochs float64 `yaml:"epochs" json:"epochs,omitempty"`
	// Seed is the key of all random numbers. Default 42.
	Seed uint64 `yaml:"seed" json:"seed"`
	// Reduce is the exact sum of gradients.
	Reduce allreduce.Config `yaml:"reduce" json:"reduce"`
	// Members bounds how many nodes take part; it is no part of the result.
	Members Members `yaml:"members" json:"members"`
	// Checkpoint says when checkpoints are taken and which stay; it is no part of the result.
	Checkpoint checkpoints.Config `yaml:"checkpoint" json:"checkpoint"`
}

// Validation says when the validation loss is measured, by forward-only steps.
type Validation struct {
	// Every is the number of steps between two measurements; there is always one after the last step when there is
	// validation data. Default 0: that one alone.
	Every int `yaml:"every" json:"every"`
}

// Batch is Lanes · Micro samples per step.
type Batch struct {
	// Lanes is the number of parallel streams of micro-batches, and with it the largest number of members that work.
	// Default 32; 1 to 65536.
	Lanes int `yaml:"lanes" json:"lanes"`
	// Micro is the number of samples a lane adds to a step. Default 1; 1 to 65536.
	Micro int `yaml:"micro" json:"micro"`
}

// Members bounds the number of members.
type Members struct {
	// Min is how many nodes the run waits for. Default 1.
	Min int `yaml:"min" json:"min"`
	// Max is how many take part at the most, further ones stay free for other runs. Default 0: no limit.
	Max int `yaml:"max" json:"max"`
}

const (
	maxBatch = 1 << 16
	maxSteps = 1 << 40
)

// Default is the spec in which nothing is said but the method's name.
func Default(method string) Spec {
	return Spec{
		Data:      sharding.Default(),
		Method:    methods.Default(method),
		Optimizer: methods.DefaultOptimizer(method),
		Batch:     Batch{Lanes: 32, Micro: 1},
		Seed:      42,
		Reduce:    allreduce.Default(),
		Members:   Members{Min: 1},

		Checkpoint: checkpoints.Default(),
	}
}

// Check names the first field that has a value it must not have, and what it may be. It is not called Validate because
// that is a section of the spec.
func (s *Spec) Check() error {
	if err := s.checkOwn(); err != nil {
		return err
	}
	for _, check := range []func() error{s.Data.Validate, s.Method.Validate, s.Optimizer.Validate, s.Reduce.Validate, s.Checkpoint.Validate} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Spec) checkOwn() error {
	switch {
	case s.Model == "":
		return fmt.Errorf("model is not given: name a directory with config.json, safetensors and tokenizer.json")
	case len(s.Data.Train) == 0:
		return fmt.Errorf("data.train is not given: name the files to train on")
	case s.Validate.Every < 0:
		return fmt.Errorf("validate.every is %d: use a number of steps, or 0 for the last step alone", s.Validate.Every)
	case s.Validate.Every > 0 && len(s.Data.Validation) == 0 && s.Data.Split == 0:
		return fmt.Errorf("validate.every is %d, but neither data.validation nor data.split is given: name files, or remove validate", s.Validate.Every)
	case s.Batch.Lanes < 1 || s.Batch.Lanes > maxBatch:
		return fmt.Errorf("batch.lanes is %d: use 1 to %d", s.Batch.Lanes, maxBatch)
	case s.Batch.Micro < 1 || s.Batch.Micro > maxBatch:
		return fmt.Errorf("batch.micro is %d: use 1 to %d", s.Batch.Micro, maxBatch)
	case s.Steps < 0 || s.Steps > maxSteps:
		return fmt.Errorf("steps is %d: use at least 1", s.Steps)
	case !(s.Epochs >= 0) || math.IsInf(s.Epochs, 1):
		return fmt.Errorf("epochs is %v: use a number above 0", s.Epochs)
	case s.Steps == 0 && s.Epochs == 0:
		return fmt.Errorf("neither steps nor epochs is given: say how long to train")
	case s.Steps > 0 && s.Epochs > 0:
		return fmt.Errorf("steps is %d and epochs is %v: give one of them", s.Steps, s.Epochs)
	case s.Members.Min < 1:
		return fmt.Errorf("members.min is %d: use at least 1", s.Members.Min)
	case s.Members.Min > s.Batch.Lanes:
		return fmt.Errorf("members.min is %d, but batch.lanes seats %d members at the most: lower one or raise the other", s.Members.Min, s.Batch.Lanes)
	case s.Members.Max < 0 || s.Members.Max > 0 && s.Members.Max < s.Members.Min:
		return fmt.Errorf("members.max is %d: use at least members.min, which is %d, or 0 for no limit", s.Members.Max, s.Members.Min)
	}
	return nil
}
