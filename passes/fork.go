package passes

import (
	"slices"

	"nuwa/passes/attention"
)

// Fork returns a State of its own for another way to go on from what s has
// come to, on a clone of its model. Statistics and factors, which no pass
// changes, are shared, so that s and its forks may go on side by side; s must
// not be changed while it is forked.
func (s *State) Fork() *State {
	c := *s
	c.Model = s.Model.Clone()
	c.Base, c.Before, c.Widths = slices.Clone(s.Base), slices.Clone(s.Before), slices.Clone(s.Widths)
	c.Notes, c.ran = slices.Clone(s.Notes), slices.Clone(s.ran)
	if s.ViT == nil {
		return &c
	}
	c.ViT = s.ViT.Moved(s.Model, c.Model)
	c.Spectra = make([]*attention.Spectrum, len(s.Spectra))
	for i, sp := range s.Spectra {
		own := *sp
		own.Site = c.ViT.Attentions[i]
		c.Spectra[i] = &own
	}
	if s.Spectra == nil {
		c.Spectra = nil
	}
	return &c
}
