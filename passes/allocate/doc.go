// Package allocate decides widths: how many query/key and value/output
// channels the heads of a block keep, and how many hidden neurons each block
// keeps so that the model meets a pruning rate.
//
// It is arithmetic on numbers alone and may import internal/fault, nothing
// else. What a channel costs comes from the caller, or from Block for the
// plain ViT of the method.
//
// Attention: the widths follow from the rate and from the heads' singular
// values.
//
//	q := allocate.Round(allocate.RankFor(energies, allocate.Rho(0.4)), 8, 32)
//
// Hidden layers: what is still missing to the rate is taken from them.
//
//	p := allocate.Problem{Layers: layers, Base: base, Now: now, Rate: 0.4, Align: 8}
//	widths, err := p.Uniform()
//
// The three rules, Uniform, Proportion and Adaptive, each define one path from
// the full widths down to the smallest ones, a step at a time; the rate only
// says where on the path to stop, at the point nearest to it. A higher rate
// therefore never gives any layer more width.
//
// Competition is the rule that lets q/k, v/o and hidden widths of all blocks
// compete for one budget by what each is predicted to lose.
package allocate
