// Package files writes files so that none is ever half-written: whether a name
// is free is found out before the work, content goes beside the name and gets
// it when it is whole.
//
//	if err := files.Vacant(output, force, input); err != nil { ... }
//	err := files.Replace(output, func(w io.Writer) error { return json.NewEncoder(w).Encode(v) })
package files
