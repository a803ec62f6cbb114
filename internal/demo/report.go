package demo

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// teller prints the story with the time since its beginning, and keeps the
// promises for the table at its end.
type teller struct {
	w        io.Writer
	begun    time.Time
	promises []promise
}

// promise is a row of the table.
type promise struct {
	what, promised, seen string
	kept                 bool
}

func (t *teller) say(format string, args ...any) {
	fmt.Fprintf(t.w, "%6.1fs  %s\n", time.Since(t.begun).Seconds(), fmt.Sprintf(format, args...))
}

// chapter begins a part of the story.
func (t *teller) chapter(title string) { fmt.Fprintf(t.w, "\n%s\n", title) }

// promise notes what was promised and what was seen.
func (t *teller) promise(kept bool, what, promised, seen string) {
	t.promises = append(t.promises, promise{what, promised, seen, kept})
	mark := "as promised"
	if !kept {
		mark = "NOT AS PROMISED"
	}
	t.say("%s: %s (%s: %s)", what, seen, mark, promised)
}

// table prints all promises and reports whether every one was kept.
func (t *teller) table() bool {
	fmt.Fprintln(t.w)
	table := tabwriter.NewWriter(t.w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WHAT\tPROMISED\tSEEN\tKEPT")
	all := true
	for _, p := range t.promises {
		kept := "yes"
		if !p.kept {
			kept, all = "NO", false
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", p.what, p.promised, p.seen, kept)
	}
	table.Flush() // an error of the terminal is the terminal's
	return all
}

// ms is a duration in milliseconds for people.
func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }
