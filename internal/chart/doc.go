// Package chart draws line charts as SVG.
//
//	c := chart.Chart{
//		Title: "Accuracy by cost",
//		X:     chart.Axis{Label: "MACs per image, millions", Zero: true},
//		Y:     chart.Axis{Label: "accuracy, %"},
//		Series: []chart.Series{{Name: "best", Points: []chart.Point{{X: 24, Y: 97, Low: 91.5, High: 99}}}},
//		Levels: []chart.Level{{Y: 97, Name: "base"}},
//	}
//	page := c.SVG()        // a part of a page whose style sheet has chart.CSS in it
//	file := c.Standalone() // the content of a file.svg
//
// Colors are CSS variables that follow the reader's choice of light or dark,
// and tell apart for the color-blind with the help of markers. The package may
// import nothing of nuwa.
package chart
