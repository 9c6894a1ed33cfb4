package grid

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/viper"

	"nuwa/internal/fault"
)

// Config is an experiment.
type Config struct {
	Models     []Model
	Rates      []float64
	Seeds      []uint64
	Recipes    []Recipe
	Best       string // name of the recipe that the others are held against; "" means "best"
	Paper      string // name of the recipe that the best is held against; "" means "paper"
	Validation int    // images beside those for calibration to measure the accuracy on too
	Latency    bool   // measure latency, at the first seed
}

// Model is a base with its images. Paths are relative to the config file.
type Model struct {
	Name, Base, Data, Test, Labels, Resize string
	Mean, Std                              []float32
	Tasks                                  []Task
}

// Task is a choice of classes.
type Task struct {
	Name    string
	Classes []string
}

// Recipe is a named recipe with what it does otherwise.
type Recipe struct {
	Name   string
	Recipe string // "best" or "paper"; "" means Name
	Align  int    // 0 means 8
	Images int    // for calibration; 0 means the recipe's number
	Rates  []float64
	Seeds  []uint64
	Purify string

	Select, Reconstruct, Statistics, Objective, Attention, Allocate, Moves, Cost, Errors, Rows, Tokens, Refit string
}

// Cell is one model to make.
type Cell struct {
	Model  *Model
	Task   *Task
	Seed   uint64
	Recipe *Recipe
	Rate   float64
}

// Load reads an experiment.
func Load(file string) (*Config, error) {
	bad := func(err error) error {
		return &fault.Error{Kind: fault.Usage, File: file, Err: err, Remedy: "configs/recipes.yaml shows what such a file holds"}
	}
	v := viper.New()
	v.SetConfigFile(file)
	if err := v.ReadInConfig(); err != nil {
		return nil, bad(err)
	}
	c := &Config{}
	if err := v.UnmarshalExact(c); err != nil {
		return nil, bad(err)
	}
	if err := c.complete(); err != nil {
		err.File = file
		return nil, err
	}
	for i := range c.Models {
		m := &c.Models[i]
		for _, p := range []*string{&m.Base, &m.Data, &m.Test, &m.Labels} {
			if *p != "" && !filepath.IsAbs(*p) {
				*p = filepath.Join(filepath.Dir(file), *p)
			}
		}
		if _, err := os.Stat(m.Base); err != nil {
			return nil, &fault.Error{Kind: fault.Data, File: file, Where: m.Name, Err: err, Remedy: "paths are relative to the config file"}
		}
	}
	return c, nil
}

// complete fills in names and reports the first thing that makes no sense.
func (c *Config) complete() *fault.Error {
	bad := func(where, got, want string) *fault.Error {
		return &fault.Error{Kind: fault.Usage, Where: where, Got: got, Want: want}
	}
	if c.Best == "" {
		c.Best = "best"
	}
	if c.Paper == "" {
		c.Paper = "paper"
	}
	if len(c.Seeds) == 0 {
		c.Seeds = []uint64{0}
	}
	if len(c.Models) == 0 || len(c.Rates) == 0 || len(c.Recipes) == 0 {
		return bad("grid", fmt.Sprintf("%d models, %d rates, %d recipes", len(c.Models), len(c.Rates), len(c.Recipes)), "at least one of each")
	}
	for _, r := range c.Rates {
		if !(r > 0 && r < 1) {
			return bad("rates", fmt.Sprint(r), "more than 0 and below 1")
		}
	}
	for i, m := range c.Models {
		if m.Name == "" || m.Base == "" || m.Data == "" || m.Test == "" || len(m.Tasks) == 0 {
			return bad(fmt.Sprintf("models[%d]", i), fmt.Sprintf("%+v", m), "name, base, data, test and tasks")
		}
	}
	seen := map[string]bool{}
	for i := range c.Recipes {
		r := &c.Recipes[i]
		if r.Recipe == "" {
			r.Recipe = r.Name
		}
		if r.Name == "" || seen[r.Name] {
			return bad(fmt.Sprintf("recipes[%d].name", i), fmt.Sprintf("%q", r.Name), "a name that no other has")
		}
		seen[r.Name] = true
	}
	if !seen[c.Best] {
		return bad("best", fmt.Sprintf("%q", c.Best), "the name of a recipe")
	}
	return nil
}

// Cells lists the cells, those that can share work next to each other: by
// model, task, seed, recipe and rate.
func (c *Config) Cells() []Cell {
	var out []Cell
	for i := range c.Models {
		m := &c.Models[i]
		for j := range m.Tasks {
			for _, seed := range c.Seeds {
				for k := range c.Recipes {
					r := &c.Recipes[k]
					if r.Seeds != nil && !slices.Contains(r.Seeds, seed) {
						continue
					}
					rates := r.Rates
					if rates == nil {
						rates = c.Rates
					}
					for _, rate := range rates {
						out = append(out, Cell{m, &m.Tasks[j], seed, r, rate})
					}
				}
			}
		}
	}
	return out
}
