package passes

import (
	"fmt"
	"slices"
	"strings"

	"nuwa/internal/fault"
	"nuwa/passes/refit"
)

// A Recipe names one strategy for each part of the work. Every combination
// works; a part left "" is to be filled in from a named recipe.
type Recipe struct {
	Select      string `json:"select"`
	Reconstruct string `json:"reconstruct"`
	Statistics  string `json:"statistics"`
	Objective   string `json:"objective"`
	Attention   string `json:"attention"`
	Allocate    string `json:"allocate"`
	Moves       string `json:"moves"`
	Cost        string `json:"cost"`
	Errors      string `json:"errors"`
	Rows        string `json:"rows"`
	Tokens      string `json:"tokens"`
	Refit       string `json:"refit"`
	Purify      string `json:"purify"` // unless Options.Purify says otherwise
	Images      int    `json:"images"` // for calibration
}

// The strategies, by part.
const (
	SelectActivation = "activation"
	SelectMagnitude  = "magnitude"
	SelectWanda      = "wanda"
	SelectTaylor     = "taylor"
	SelectSecond     = "second-order"

	ReconstructNone   = "none"
	ReconstructLeast  = "least-squares"
	ReconstructAffine = "affine"

	StatisticsSlim       = "slim"
	StatisticsDense      = "dense"
	StatisticsSequential = "sequential"

	ObjectiveLayer = "layer"
	ObjectiveBlock = "block"

	AttentionWeights = "weights"
	AttentionData    = "data"

	AllocateUniform     = "uniform"
	AllocateProportion  = "proportion"
	AllocateAdaptive    = "adaptive"
	AllocateSensitivity = "sensitivity"

	MovesWidths = "widths"
	MovesHeads  = "heads"
	MovesBlocks = "blocks"

	CostMACs       = "macs"
	CostParameters = "parameters"
	CostLatency    = "latency"

	ErrorsPlain    = "plain"
	ErrorsDiagonal = "diagonal"
	ErrorsFull     = "full"

	RowsAlike = "alike"
	RowsFelt  = "felt"

	TokensAll  = "all"
	TokensRead = "read"

	RefitNone   = "none"
	RefitLogits = refit.Logits
	RefitLabels = refit.Labels
	RefitBest   = refit.Best

	PurifyNone = "none"
	PurifySTE  = "ste"
)

// Recipes are the named ones.
var Recipes = map[string]Recipe{
	// The method's: Wei et al., arXiv 2504.03118.
	"paper": {
		Select: SelectActivation, Reconstruct: ReconstructLeast, Statistics: StatisticsSlim, Objective: ObjectiveLayer, Attention: AttentionWeights,
		Allocate: AllocateUniform, Moves: MovesWidths, Cost: CostMACs, Errors: ErrorsPlain, Rows: RowsAlike, Tokens: TokensAll, Refit: RefitNone, Purify: PurifySTE, Images: 128,
	},
	"best": {
		Select: SelectSecond, Reconstruct: ReconstructAffine, Statistics: StatisticsDense, Objective: ObjectiveLayer, Attention: AttentionData,
		Allocate: AllocateSensitivity, Moves: MovesHeads, Cost: CostMACs, Errors: ErrorsFull, Rows: RowsAlike, Tokens: TokensRead, Refit: RefitLogits, Purify: PurifyNone, Images: 512,
	},
}

// Choice is one strategy of a part.
type Choice struct{ Name, Doc string }

// Part is one part of the work with the strategies there are for it.
type Part struct {
	Name    string
	Doc     string // what the part decides
	Choices []Choice
	Of      func(*Recipe) *string
}

// Parts lists every part and strategy.
var Parts = []Part{
	{"select", "which hidden neurons stay", []Choice{
		{SelectActivation, "largest mean activation (Wei et al.)"},
		{SelectMagnitude, "largest norm of outgoing weights"},
		{SelectWanda, "largest norm of outgoing weights times norm of the activation (arXiv 2306.11695)"},
		{SelectTaylor, "largest mean square of activation times gradient (arXiv 1906.10771)"},
		{SelectSecond, "least error after all others were solved again, one by one (OSSCAR, arXiv 2403.12983)"},
	}, func(r *Recipe) *string { return &r.Select }},
	{"reconstruct", "how those that stay make up for the others", []Choice{
		{ReconstructNone, "not at all"},
		{ReconstructLeast, "least squares to the full layer's output (Wei et al.)"},
		{ReconstructAffine, "the same with an intercept, and a ridge towards the weights as they are (CORP, arXiv 2602.05243)"},
	}, func(r *Recipe) *string { return &r.Reconstruct }},
	{"statistics", "which activations hidden neurons are chosen and refitted by", []Choice{
		{StatisticsSlim, "those behind slim attention, gathered anew for each rate"},
		{StatisticsDense, "the base's, gathered once for all rates"},
		{StatisticsSequential, "those behind the blocks before it as they are slimmed, block after block, those of heads too (as SparseGPT, arXiv 2301.00774)"},
	}, func(r *Recipe) *string { return &r.Statistics }},
	{"objective", "what the maps that end a branch are fitted to", []Choice{
		{ObjectiveLayer, "their own output before anything is dropped, W·h"},
		{ObjectiveBlock, "with sequential statistics, what the dense residual stream behind them is more than the slim one before: W + E[gap·hᵀ]·E[h·hᵀ]⁻¹"},
	}, func(r *Recipe) *string { return &r.Objective }},
	{"attention", "what the truncated decompositions of heads keep", []Choice{
		{AttentionWeights, "the products of weights, without data (Wei et al.)"},
		{AttentionData, "what the products give on calibration data (as SVD-LLM, arXiv 2403.07378)"},
	}, func(r *Recipe) *string { return &r.Attention }},
	{"allocate", "how wide each part of each block stays", []Choice{
		{AllocateUniform, "attention by the ρ rule, hidden layers equally wide (Wei et al.)"},
		{AllocateProportion, "attention by the ρ rule, hidden layers in proportion to their widths"},
		{AllocateAdaptive, "attention by the ρ rule, hidden neurons of least score anywhere"},
		{AllocateSensitivity, "all widths compete: least predicted loss per cost saved goes first"},
	}, func(r *Recipe) *string { return &r.Allocate }},
	{"moves", "what the sensitivity allocation may give up", []Choice{
		{MovesWidths, "widths of heads and of hidden layers"},
		{MovesHeads, "whole heads as well, the others making up for them"},
		{MovesBlocks, "whole heads, attentions and hidden layers, the mean of what they add in their place"},
	}, func(r *Recipe) *string { return &r.Moves }},
	{"cost", "what the sensitivity allocation saves, and the rate is a share of", []Choice{
		{CostMACs, "multiply-accumulates"},
		{CostParameters, "weights"},
		{CostLatency, "time for one image, as its parts take here"},
	}, func(r *Recipe) *string { return &r.Cost }},
	{"errors", "how errors of channels are weighed against each other", []Choice{
		{ErrorsPlain, "all alike"},
		{ErrorsDiagonal, "each by the mean squared gradient of the loss over the wanted classes"},
		{ErrorsFull, "by the second moment of that gradient, across channels"},
	}, func(r *Recipe) *string { return &r.Errors }},
	{"rows", "how tokens count in second moments", []Choice{
		{RowsAlike, "all alike"},
		{RowsFelt, "each by the squared gradient of the loss at it"},
	}, func(r *Recipe) *string { return &r.Rows }},
	{"tokens", "which tokens the last block works on", []Choice{
		{TokensAll, "all"},
		{TokensRead, "those that the output reads; nothing changes but the cost"},
	}, func(r *Recipe) *string { return &r.Tokens }},
	{"refit", "what the classifier is refitted to on slim features, by ridge regression", []Choice{
		{RefitNone, "nothing"},
		{RefitLogits, "the base's logits"},
		{RefitLabels, "the labels"},
		{RefitBest, "what validation likes best of these"},
	}, func(r *Recipe) *string { return &r.Refit }},
}

// Named returns the recipe of that name with the parts that over names put in
// the place of its own.
func Named(name string, over Recipe) (Recipe, error) {
	r, ok := Recipes[name]
	if !ok {
		return r, &fault.Error{Kind: fault.Usage, Where: "recipe", Got: fmt.Sprintf("%q", name), Want: "paper or best"}
	}
	for _, p := range Parts {
		if x := *p.Of(&over); x != "" {
			if !slices.ContainsFunc(p.Choices, func(c Choice) bool { return c.Name == x }) {
				return r, &fault.Error{Kind: fault.Usage, Where: p.Name, Got: fmt.Sprintf("%q", x), Want: p.Names()}
			}
			*p.Of(&r) = x
		}
	}
	if over.Images > 0 {
		r.Images = over.Images
	}
	return r, nil
}

// Names lists the strategies.
func (p Part) Names() string {
	var names []string
	for _, c := range p.Choices {
		names = append(names, c.Name)
	}
	return strings.Join(names, ", ")
}

// senses reports whether r needs statistics of the base before widths are
// chosen, and whether it needs gradients.
func (r Recipe) senses() (moments, gradients bool) {
	gradients = r.Errors != ErrorsPlain || r.Rows == RowsFelt || r.Select == SelectTaylor
	return gradients || r.Attention == AttentionData || r.Statistics == StatisticsDense ||
		r.Allocate == AllocateAdaptive || r.Allocate == AllocateSensitivity, gradients
}
