package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"nuwa"
	"nuwa/configs"
	"nuwa/internal/fault"
)

// cacheFlag names the folder of shared results.
func cacheFlag(f *pflag.FlagSet, without string) {
	f.String("cache", "", "folder for results that runs share; "+without)
}

// cacheFolder is the folder that --cache names, or the user's own.
func (a *app) cacheFolder() (string, error) {
	if dir := a.config.GetString("cache"); dir != "" {
		return dir, nil
	}
	return nuwa.CacheFolder()
}

// cache is `nuwa cache`, about results that runs share.
func (a *app) cache() *cobra.Command {
	c := &cobra.Command{
		Use:   "cache",
		Short: "List, check and prune the results that runs share",
		Args: func(cmd *cobra.Command, got []string) error {
			if len(got) > 0 {
				return unknownCommand(cmd, got[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	ls := &cobra.Command{
		Use: "ls", Short: "List entries, those first that were used last", Args: args(0, 0, "none"),
		RunE: func(*cobra.Command, []string) error {
			dir, err := a.cacheFolder()
			if err != nil {
				return err
			}
			entries, err := nuwa.CacheEntries(dir, false)
			if err != nil {
				return err
			}
			return a.print(entries, func(w io.Writer) error {
				if err := writeEntries(w, entries); err != nil {
					return err
				}
				_, err := fmt.Fprintf(w, "%d entries, %s, in %s\n", len(entries), configs.Bytes(total(entries)), dir)
				return err
			})
		},
	}
	verify := &cobra.Command{
		Use: "verify", Short: "Hold every entry to its checksum", Args: args(0, 0, "none"),
		Long: "Verify reads every entry and lists those that are damaged. They do no harm: a run\nthat meets one makes it anew. `nuwa cache prune` removes them.",
		RunE: func(*cobra.Command, []string) error {
			dir, err := a.cacheFolder()
			if err != nil {
				return err
			}
			entries, err := nuwa.CacheEntries(dir, true)
			if err != nil {
				return err
			}
			var damaged []nuwa.CacheEntry
			for _, e := range entries {
				if e.Damaged {
					damaged = append(damaged, e)
				}
			}
			err = a.print(map[string]any{"entries": len(entries), "damaged": damaged}, func(w io.Writer) error {
				if err := writeEntries(w, damaged); err != nil {
					return err
				}
				_, err := fmt.Fprintf(w, "%d of %d entries are sound, in %s\n", len(entries)-len(damaged), len(entries), dir)
				return err
			})
			if err == nil && len(damaged) > 0 {
				a.told = a.config.GetBool("json")
				return &fault.Error{Kind: fault.Check, File: dir, Got: fmt.Sprintf("%d damaged entries", len(damaged)), Remedy: "`nuwa cache prune` removes them"}
			}
			return err
		},
	}
	prune := &cobra.Command{
		Use: "prune", Short: "Remove entries that are damaged, old, or too many", Args: args(0, 0, "none"),
		Example: "  nuwa cache prune --unused 168h --keep 2GB",
		RunE: func(*cobra.Command, []string) error {
			dir, err := a.cacheFolder()
			if err != nil {
				return err
			}
			most := int64(-1)
			if s := a.config.GetString("keep"); s != "" {
				var b configs.Bytes
				if err := b.UnmarshalText([]byte(s)); err != nil {
					return &fault.Error{Kind: fault.Usage, Where: "--keep", Err: err}
				}
				most = int64(b)
			}
			var before time.Time
			if d := a.config.GetDuration("unused"); d > 0 {
				before = time.Now().Add(-d)
			}
			gone, err := nuwa.PruneCache(dir, before, most)
			if err != nil {
				return err
			}
			return a.print(gone, func(w io.Writer) error {
				if err := writeEntries(w, gone); err != nil {
					return err
				}
				_, err := fmt.Fprintf(w, "removed %d entries, %s, from %s\n", len(gone), configs.Bytes(total(gone)), dir)
				return err
			})
		},
	}
	prune.Flags().Duration("unused", 0, "remove what was not used for this long")
	prune.Flags().String("keep", "", "remove what was not used for longest until this much is left, as in 2GB")
	for _, sub := range []*cobra.Command{ls, verify, prune} {
		cacheFlag(sub.Flags(), "the user's own by default")
	}
	c.AddCommand(ls, verify, prune)
	return c
}

func total(entries []nuwa.CacheEntry) (n int64) {
	for _, e := range entries {
		n += e.Bytes
	}
	return n
}

func writeEntries(w io.Writer, entries []nuwa.CacheEntry) error {
	if len(entries) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "entry\tsize\tused\twhat")
	for _, e := range entries {
		what := e.What
		if e.Damaged {
			what = "damaged"
		}
		fmt.Fprintf(t, "%.12s\t%s\t%s\t%s\n", e.Digest, configs.Bytes(e.Bytes), e.Used.Format(time.DateTime), what)
	}
	return t.Flush()
}
