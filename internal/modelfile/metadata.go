package modelfile

// Version is the version of nuwa, written into the models it makes.
const Version = "0.1.0"

// Metadata keys of the models that nuwa writes.
const (
	MetaClasses    = "nuwa.classes"    // JSON list: the class of each logit
	MetaWanted     = "nuwa.wanted"     // JSON list: the logits that are not masked, in a full-width model
	MetaMultiLabel = "nuwa.multilabel" // "true": each class is decided by itself
	MetaPreprocess = "nuwa.preprocess" // JSON: how images become inputs
	MetaBase       = "nuwa.base"       // sha256 of the base file
	MetaRecipe     = "nuwa.recipe"
	MetaWidths     = "nuwa.widths" // JSON list: widths per block
	MetaVersion    = "nuwa.version"
)
