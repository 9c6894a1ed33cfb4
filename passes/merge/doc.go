// Package merge makes the blocks of a Vision Transformer hand on fewer tokens
// than they got, by bipartite soft matching (Bolya et al., Token Merging,
// arXiv 2210.09461): behind each attention, the r tokens whose keys are most
// like another's are averaged with it.
//
//	done, reason := merge.Apply(model, vit, 8)
//
// All is spelled in standard operators, for any batch. The tokens of a sample
// are dealt into two sets in turns; each of the first finds its nearest in the
// second by the cosine of keys, which are averaged over the heads; the r nearest
// pairs become one token each, the mean of all the tokens that it stands for. How
// many these are, its size, is carried along: its logarithm is added to the
// logits of the keys of later attentions, and means over tokens are weighted by
// it, so that merging equal tokens changes nothing.
//
// Tokens that something reads by their number, such as a class token, are never
// merged. From the first merge on, every operator must be known to keep tokens
// apart (package tokens), or to be the attention or the mean over them; where
// anything else meets tokens, nothing is merged, and the reason is returned.
//
// It may import graph, passes/structure, passes/tokens and internal/engine.
package merge
