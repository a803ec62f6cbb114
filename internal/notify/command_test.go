package notify_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/notify"
)

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		text string
		want notify.Command
	}{
		{"/bin/x", notify.Command{"/bin/x"}},
		{"  /bin/x  a\tb ", notify.Command{"/bin/x", "a", "b"}},
		{`/bin/x "a b" 'c "d'`, notify.Command{"/bin/x", "a b", `c "d`}},
		{`/bin/x a\ b \"c`, notify.Command{"/bin/x", "a b", `"c`}},
		{`/bin/x '' "" a""b`, notify.Command{"/bin/x", "", "", "ab"}},
		{`/bin/x '\' $HOME *`, notify.Command{"/bin/x", `\`, "$HOME", "*"}},
		{"", nil},
		{"   ", nil},
		{`/bin/x "a`, nil},
		{`/bin/x \`, nil},
	} {
		got, err := notify.Split(c.text)
		if (err != nil) != (c.want == nil) {
			t.Errorf("%q: error %v", c.text, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.text, diff)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add(`/bin/x "a b" 'c' \d`)
	f.Fuzz(func(t *testing.T, text string) {
		command, err := notify.Split(text)
		if (err == nil) != (len(command) > 0) {
			t.Errorf("%q: %q, %v", text, command, err)
		}
	})
}
