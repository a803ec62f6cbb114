package healthcheck

import "lvsha/internal/plain"

// lineLimit bounds, in characters, a text from outside that is quoted in a reason. It
// leaves room for what else the reason has to say.
const lineLimit = 120

// printable makes a text from outside fit to be quoted in a reason.
func printable(s string) string { return plain.Text(s, lineLimit) }

// shown makes a result fit to be kept and shown. All that a probe says comes in through
// here, whatever its kind did with what it heard.
func (r *result) shown() (reason, warning string) {
	reason = r.answer.Detail
	if r.err != nil {
		reason = r.err.Error()
	}
	hide := func(text string) string { return conceal(plain.Text(text, plain.Most), r.entry.secrets) }
	return hide(reason), hide(r.answer.Warning)
}
