// Package grid describes experiments that compare recipes: a file names models,
// tasks, rates, recipes and seeds; every combination is a cell. It keeps the
// outcomes of cells, so that an experiment goes on where it was interrupted,
// and sums them up as tables and charts.
//
//	c, err := grid.Load("configs/recipes.yaml")
//	log, err := grid.OpenLog("cells.jsonl")
//	for _, cell := range c.Cells() { … log.Add(key, outcome) }
//	err = grid.Write("docs", c, log.Outcomes, command)
//
// What a cell is made of is up to the caller. The package may import
// internal/chart and internal/fault.
package grid
