package nuwa

import (
	"nuwa/internal/report"
	"nuwa/passes/purify"
)

// Result is what Derive made and how it compares with the base.
type Result = report.Result

// BlockWidths are the widths of one block before and after.
type BlockWidths = report.BlockWidths

// OtherResult is the logit for all other classes and how it does.
type OtherResult = report.Other

// Declined is a part of the model that is left as it is.
type Declined = report.Declined

// PurifyResult says which hidden neurons hurt and what removing them did.
type PurifyResult = purify.Result

// Found is how a rate was found for limits, or for an accuracy.
type Found = report.Found
