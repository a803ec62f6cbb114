package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"lvsha/healthcheck"
)

// The types of a question's fields that are not Go's own (see
// healthcheck.Question).
var (
	listType     = reflect.TypeFor[healthcheck.List]()
	secretType   = reflect.TypeFor[healthcheck.Secret]()
	durationType = reflect.TypeFor[time.Duration]()
	questionType = reflect.TypeFor[healthcheck.Question]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// questionField is a setting of a kind of check.
type questionField struct {
	key   string
	index []int
	typ   reflect.Type
	tag   reflect.StructTag
}

// questionFields are the settings of a kind, in the order of its type.
func questionFields(q healthcheck.Question) (out []questionField) {
	for _, f := range reflect.VisibleFields(reflect.TypeOf(q)) {
		if key := f.Tag.Get("key"); key != "" {
			out = append(out, questionField{key: key, index: f.Index, typ: f.Type, tag: f.Tag})
		}
	}
	return out
}

// fields is questionFields, once for each kind.
func (r *report) fields(q healthcheck.Question) []questionField {
	typ := reflect.TypeOf(q)
	out, known := r.settings[typ]
	if !known {
		out = questionFields(q)
		if r.settings == nil {
			r.settings = make(map[reflect.Type][]questionField)
		}
		r.settings[typ] = out
	}
	return out
}

// keys are those by which a field is set.
func (f questionField) keys() []string {
	if f.typ == secretType {
		return []string{f.key, f.key + "_file"}
	}
	return []string{f.key}
}

// question reads the settings of a kind of check over def.
func (r *report) question(s section, def healthcheck.Question) healthcheck.Question {
	before := len(r.problems)
	v := reflect.New(reflect.TypeOf(def)).Elem()
	v.Set(reflect.ValueOf(def))
	var chain *questionField
	for _, f := range r.fields(def) {
		if f.typ == questionType {
			chain = &f
			continue
		}
		r.setting(s, f, v.FieldByIndex(f.index))
	}
	q := v.Interface().(healthcheck.Question)
	if valid, ok := q.(healthcheck.Validator); ok {
		said := slices.Clone(r.problems[before:])
		for _, p := range valid.Validate() {
			if !slices.ContainsFunc(said, func(o Problem) bool { return o.Key == string(s.node.path.key(p.Key)) }) {
				s.wrong(p)
			}
		}
	}
	if chain == nil || s.keys[chain.key] == nil {
		r.idle(s, q, before)
		return q
	}
	return r.questions(s, *chain, q)
}

// idle refuses keys that do nothing: who writes them believes that they do. Problems from
// before on are the section's; where one is about the way to TLS, nothing is known.
func (r *report) idle(s section, q healthcheck.Question, before int) {
	idler, ok := q.(healthcheck.Idler)
	if !ok {
		return
	}
	for _, key := range []string{"tls", "transport", "scheme"} {
		if slices.ContainsFunc(r.problems[before:], func(p Problem) bool { return p.Key == string(s.node.path.key(key)) }) {
			return
		}
	}
	why := idler.Idle()
	for _, f := range r.fields(q) {
		for _, key := range f.keys() {
			if s.keys[key] != nil && why[f.key] != "" {
				s.bad(key, "does nothing %s", why[f.key])
			}
		}
	}
}

// wrong adds a problem of a question, at its item if it is about one.
func (s section) wrong(p healthcheck.Problem) {
	if s.keys[p.Key] == nil && s.keys[p.Key+"_file"] != nil {
		p.Key += "_file"
	}
	if n := s.keys[p.Key]; n != nil && p.Item > 0 {
		if items, ok := n.value.([]*node); ok && p.Item <= len(items) {
			s.at(items[p.Item-1], "%s", p.Message)
			return
		}
	}
	s.bad(p.Key, "%s", p.Message)
}

// questions reads a list of tables that inherit from q, and makes one of them.
func (r *report) questions(s section, chain questionField, q healthcheck.Question) healthcheck.Question {
	var known []string
	for _, f := range r.fields(q) {
		if f.key != chain.key {
			known = append(known, f.keys()...)
		}
	}
	slices.Sort(known)
	items := s.list(chain.key)
	if len(items) == 0 {
		s.bad(chain.key, "want at least one table")
	}
	var out healthcheck.Question
	for _, n := range slices.Backward(items) {
		each, ok := r.section(n, known)
		if !ok {
			continue
		}
		v := reflect.New(reflect.TypeOf(q)).Elem()
		v.Set(reflect.ValueOf(r.question(each, q)))
		if out != nil {
			v.FieldByIndex(chain.index).Set(reflect.ValueOf(out))
		}
		out = v.Interface().(healthcheck.Question)
	}
	if out == nil {
		return q
	}
	return out
}

// setting reads one field.
func (r *report) setting(s section, f questionField, v reflect.Value) {
	if want := f.tag.Get("required"); want != "" {
		if !slices.ContainsFunc(f.keys(), func(k string) bool { return s.keys[k] != nil }) {
			s.missing(f.key, want)
			return
		}
	}
	if f.typ == secretType {
		if secret, ok := r.secretSetting(s, f.key); ok {
			v.SetString(secret)
		}
		return
	}
	n, choice := s.keys[f.key], f.tag.Get("oneof")
	switch {
	case n == nil:
		if choice != "" && v.String() == "" {
			v.SetString(strings.Split(choice, ",")[0])
		}
	case choice != "":
		v.SetString(s.word(f.key, strings.Split(choice, ",")...))
	case f.typ == listType:
		if list, ok := r.textList(n, f.tag.Get("want")); ok {
			v.SetString(string(list))
		}
	case reflect.PointerTo(f.typ).Implements(textType):
		r.textSetting(n, v.Addr().Interface().(encoding.TextUnmarshaler))
	case f.typ == durationType:
		low, high := bounds(f, time.ParseDuration)
		v.SetInt(int64(s.duration(f.key, time.Duration(v.Int()), low, high, 1)))
	case f.typ.Kind() == reflect.Int:
		low, high := bounds(f, strconv.Atoi)
		v.SetInt(int64(s.number(f.key, int(v.Int()), low, high)))
	case f.typ.Kind() == reflect.Bool:
		v.SetBool(s.flagOr(f.key, v.Bool()))
	case f.typ.Kind() == reflect.String:
		text, ok := s.text(f.key)
		if ok && text == "" {
			s.bad(f.key, "is empty; leave it out or say something")
		}
		v.SetString(text)
	default:
		panic(fmt.Sprintf("config: setting %s of a check has the type %s", f.key, f.typ))
	}
}

// bounds are those of the tag of a field.
func bounds[T any](f questionField, parse func(string) (T, error)) (low, high T) {
	a, b, _ := strings.Cut(f.tag.Get("range"), ",")
	low, errA := parse(a)
	high, errB := parse(b)
	if errA != nil || errB != nil {
		panic(fmt.Sprintf("config: setting %s of a check has the range %q", f.key, f.tag.Get("range")))
	}
	return low, high
}

// textSetting reads a string, or an integer as one, as its type has it.
func (r *report) textSetting(n *node, to encoding.TextUnmarshaler) {
	text, isText := n.value.(string)
	if number, ok := n.value.(int64); ok {
		text, isText = strconv.FormatInt(number, 10), true
	}
	if !isText {
		text = "" // never what is wanted
	}
	if err := to.UnmarshalText([]byte(text)); err != nil {
		r.at(n, "%v", err)
	}
}

// textList reads a list of strings.
func (r *report) textList(n *node, want string) (healthcheck.List, bool) {
	items, ok := n.value.([]*node)
	if !ok || len(items) == 0 {
		r.at(n, "want %s", want)
		return "", false
	}
	texts := make([]string, 0, len(items))
	for _, item := range items {
		v, ok := r.textOf(item)
		if !ok {
			return "", false
		}
		if strings.ContainsRune(v, 0) {
			r.at(item, "an argument cannot contain NUL")
			return "", false
		}
		texts = append(texts, v)
	}
	return healthcheck.NewList(texts...), true
}

// secretSetting reads KEY, or the file that KEY_file names.
func (r *report) secretSetting(s section, key string) (string, bool) {
	file := key + "_file"
	if s.keys[file] == nil {
		text, ok := s.text(key)
		if ok && strings.TrimSpace(text) == "" {
			s.bad(key, "is empty; leave it out or say something")
		}
		if n := s.keys[key]; n != nil {
			r.secrets = append(r.secrets, n)
		}
		return text, ok
	}
	if s.keys[key] != nil {
		s.bad(file, "%s is there already; leave one of them out", key)
		return "", false
	}
	name, ok := s.text(file)
	if !ok {
		return "", false
	}
	b, ok := s.secret(s.keys[file], name)
	if !ok {
		// It is there, whatever it holds; it may be on another director.
		return unreadSecret + " " + name, true
	}
	if strings.TrimSpace(string(b)) == "" {
		s.bad(file, "%s is empty", name)
		return "", false
	}
	return strings.TrimRight(string(b), "\r\n"), true
}

// unreadSecret stands, with the name of its file, for a secret that was not read.
const unreadSecret = "(not read)"
