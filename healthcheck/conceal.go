package healthcheck

import (
	"encoding/base64"
	"reflect"
	"slices"
	"strings"
)

// A server may repeat what it was sent, or make an operator read it aloud: a password in
// what it answers is not shown, nor one in base64, as HTTP and SMTP send it.

// shortSecret is the length, in bytes, below which a secret is not looked for in what a
// server said, and shortWord in a text with words of our own: it would be found by chance,
// and what is missing would tell it.
const (
	shortSecret = 4
	shortWord   = 8
)

// needles are the texts by which secrets of at least so many bytes would be known, the
// longest first.
func needles(least int, secrets ...Secret) (out []string) {
	for _, s := range secrets {
		if len(s) < least {
			continue
		}
		out = append(out, string(s))
		// Within a longer text base64 has three ways to write it. The characters at the
		// ends depend on what is beside it.
		for before := range 3 {
			coded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("\x00", before) + string(s)))
			coded = coded[(before*8+5)/6:]
			if (before+len(s))%3 != 0 {
				coded = coded[:len(coded)-1]
			}
			if len(coded) >= shortSecret {
				out = append(out, coded)
			}
		}
	}
	slices.SortFunc(out, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(out)
}

// secretsOf are the secrets of a question and of those that follow it.
func secretsOf(q Question) (out []Secret) {
	if q == nil {
		return nil
	}
	v := reflect.ValueOf(q)
	if v.Kind() != reflect.Struct {
		return nil
	}
	for _, f := range reflect.VisibleFields(v.Type()) {
		if !f.IsExported() || f.Anonymous {
			continue
		}
		switch field := v.FieldByIndex(f.Index).Interface().(type) {
		case Secret:
			out = append(out, field)
		case Question:
			out = append(out, secretsOf(field)...)
		}
	}
	return out
}

// conceal takes secrets out of a text, and what a cut has left of one.
func conceal(text string, needles []string) string {
	for _, needle := range needles {
		text = strings.ReplaceAll(text, needle, Secret(needle).String())
		for n := len(needle) - 1; n >= shortSecret; n-- {
			text = strings.ReplaceAll(text, needle[:n]+"…", Secret(needle).String()+"…")
			text = strings.ReplaceAll(text, needle[:n]+"\"…", Secret(needle).String()+"\"…")
		}
	}
	return text
}
