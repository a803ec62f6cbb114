package healthcheck

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/theory/jsonpath"
	"golang.org/x/net/http/httpguts"
)

const (
	// bodyLimit bounds how much of an answer's body is searched.
	bodyLimit = 64 << 10
	// jsonLimit and digestLimit bound bodies that are needed as a whole.
	jsonLimit = 1 << 20
	// jsonDepth bounds how deep JSON is nested.
	jsonDepth = 100
	// jsonValues bounds how many values JSON has: each takes a hundred bytes or so, and two
	// bytes of the body.
	jsonValues = 100_000
	// jsonWork bounds the sum of the depths of all values, which is what a path with ".."
	// goes through: a probe must not cost a processor.
	jsonWork    = 500_000
	digestLimit = 64 << 20
	// headerLimit bounds an answer's header.
	headerLimit = 64 << 10
	// textLimit is the longest text, in bytes, that may be sent or wanted.
	textLimit = 4096
)

// Request is a request of HTTP, and what its answer has to be.
type Request struct {
	// Method is GET or HEAD or another.
	Method string `key:"method"`
	// Path has the query with it.
	Path string `key:"path"`
	// Host is the Host header, and the server name of TLS; empty means the server's
	// address.
	Host string `key:"host"`
	// Headers are further ones, as "Name: value".
	Headers List `key:"headers" want:"a list of headers such as [\"Accept: text/plain\"]"`
	// User and Password are for basic authentication; empty is none.
	User     string `key:"user"`
	Password Secret `key:"password"`
	// Send is the body of the request.
	Send string `key:"send"`

	// Status lists the accepted codes as "200-299,304".
	Status Statuses `key:"status"`
	// Redirects is how many redirects are followed, on the same server; those above
	// are answers.
	Redirects int `key:"redirects" range:"0,10"`
	// Body must be contained in the answer's body; empty means anything will do.
	Body string `key:"body"`
	// BodyRegex must match the body, BodyNotRegex must not.
	BodyRegex    string `key:"body_regex"`
	BodyNotRegex string `key:"body_not_regex"`
	// BodySHA256 is the SHA-256 of the body, in hexadecimal digits.
	BodySHA256 string `key:"body_sha256"`
	// JSON is a path (RFC 9535) that must select something of the body; JSONValue is
	// what that must be, as text.
	JSON      string `key:"json"`
	JSONValue string `key:"json_value"`
}

// defaultRequest has what most do not say.
var defaultRequest = Request{Method: http.MethodGet, Path: "/", Status: "200-299"}

// String is the host, if there is one, and the path.
func (r Request) String() string {
	out := r.Path
	if r.Host != "" {
		out = r.Host + " " + out
	}
	if r.Method != http.MethodGet {
		out = r.Method + " " + out
	}
	return out
}

// validate returns what is wrong with a request.
func (r Request) validate() (out []Problem) {
	bad := func(key, format string, args ...any) {
		out = append(out, Problem{Key: key, Message: fmt.Sprintf(format, args...)})
	}
	if r.Method == "" || strings.ContainsFunc(r.Method, func(r rune) bool { return r < 'A' || r > 'Z' }) {
		bad("method", "want a method in capitals such as \"GET\" or \"HEAD\", got %q", r.Method)
	}
	if !strings.HasPrefix(r.Path, "/") || strings.ContainsFunc(r.Path, notInRequest) {
		bad("path", "want a path that starts with / and has no blanks, such as \"/healthz\", got %q", r.Path)
	} else if _, err := url.ParseRequestURI(r.Path); err != nil {
		bad("path", "want a path in which each %% is followed by two hexadecimal digits (RFC 3986), got %q", r.Path)
	}
	if !validHost(r.Host) {
		bad("host", "want a host name such as \"www.example.com\", got %q", r.Host)
	}
	for i, h := range r.Headers.Items() {
		name, value, found := strings.Cut(h, ":")
		problem := ""
		switch canonical := http.CanonicalHeaderKey(name); {
		case !found || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(strings.TrimSpace(value)):
			problem = "want \"Name: value\" without control characters" // what is there may be a token
		case canonical == "Host" && !validHost(strings.TrimSpace(value)):
			problem = fmt.Sprintf("want a host name such as \"www.example.com\", got %q", h)
		case canonical == "Content-Length" || canonical == "Transfer-Encoding":
			problem = canonical + " is what the length of send makes it; leave it out"
		}
		if problem != "" {
			out = append(out, Problem{Key: "headers", Item: i + 1, Message: problem})
		}
	}
	if set, err := ParseStatus(string(r.Status)); err == nil && set.last() < 200 {
		bad("status", "an answer below 200 is none yet (RFC 9110), got %q", r.Status)
	}
	if r.User == "" && r.Password != "" {
		bad("password", "needs user beside it")
	}
	if strings.Contains(r.User, ":") {
		bad("user", "a user of basic authentication has no colon (RFC 7617)")
	}
	for key, text := range map[string]string{"body": r.Body, "send": r.Send} {
		if len(text) > textLimit {
			bad(key, "want a text of 1 to %d bytes", textLimit)
		}
	}
	if r.Method == http.MethodHead && (r.Body != "" || r.BodyRegex != "" || r.BodyNotRegex != "" || r.BodySHA256 != "" || r.JSON != "") {
		for _, key := range []struct{ name, value string }{
			{"body", r.Body}, {"body_regex", r.BodyRegex}, {"body_not_regex", r.BodyNotRegex}, {"body_sha256", r.BodySHA256}, {"json", r.JSON},
		} {
			if key.value != "" {
				bad(key.name, "an answer to HEAD has no body")
			}
		}
	}
	for key, text := range map[string]string{"body_regex": r.BodyRegex, "body_not_regex": r.BodyNotRegex} {
		if _, err := regexp.Compile(text); err != nil {
			bad(key, "want a regular expression (RE2): %v", err)
		}
	}
	if b, err := hex.DecodeString(r.BodySHA256); r.BodySHA256 != "" && (err != nil || len(b) != sha256.Size) {
		bad("body_sha256", "want the 64 hexadecimal digits that sha256sum prints")
	}
	if r.JSON != "" {
		if _, err := jsonpath.Parse(r.JSON); err != nil {
			bad("json", "want a path such as \"$.status\" (RFC 9535): %s", strings.TrimPrefix(err.Error(), "jsonpath: "))
		}
	} else if r.JSONValue != "" {
		bad("json_value", "needs json beside it, the path of the value")
	}
	return out
}

// validHost reports whether a name will do as a Host header; none will.
func validHost(name string) bool {
	return !strings.ContainsFunc(name, notInRequest) && !strings.ContainsAny(name, "/@?#") && httpguts.ValidHostHeader(name)
}

// notInRequest are the characters that would end a line or a word of a request.
func notInRequest(r rune) bool { return r <= ' ' || r == 0x7f }

// expectation is what a request's answer has to be, ready for use.
type expectation struct {
	Request
	accepted   StatusSet
	regex, not *regexp.Regexp
	digest     []byte
	path       *jsonpath.Path
}

func (r Request) expectation() (*expectation, error) {
	r.Method, r.Path = cmp.Or(r.Method, defaultRequest.Method), cmp.Or(r.Path, defaultRequest.Path)
	e := &expectation{Request: r}
	var err error
	if e.accepted, err = ParseStatus(string(r.Status)); err != nil {
		return nil, err
	}
	if r.BodyRegex != "" {
		if e.regex, err = regexp.Compile(r.BodyRegex); err != nil {
			return nil, fmt.Errorf("body_regex: %w", err)
		}
	}
	if r.BodyNotRegex != "" {
		if e.not, err = regexp.Compile(r.BodyNotRegex); err != nil {
			return nil, fmt.Errorf("body_not_regex: %w", err)
		}
	}
	if e.digest, err = hex.DecodeString(r.BodySHA256); err != nil {
		return nil, fmt.Errorf("body_sha256: %w", err)
	}
	if r.JSON != "" {
		if e.path, err = jsonpath.Parse(r.JSON); err != nil {
			return nil, fmt.Errorf("json: %w", err)
		}
	}
	return e, nil
}

// newRequest makes the request to a URL.
func (e *expectation) newRequest(u *url.URL) *http.Request {
	req := &http.Request{
		Method: e.Method, URL: u, Host: e.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: make(http.Header),
	}
	req.Header.Set("User-Agent", "lvsha")
	for _, h := range e.Headers.Items() {
		name, value, _ := strings.Cut(h, ":")
		name, value = http.CanonicalHeaderKey(strings.TrimSpace(name)), strings.TrimSpace(value)
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header.Add(name, value)
	}
	if e.User != "" {
		req.SetBasicAuth(e.User, string(e.Password))
	}
	if e.Send != "" {
		req.Body = io.NopCloser(strings.NewReader(e.Send))
		req.ContentLength = int64(len(e.Send))
	}
	return req
}

// errUnmet is a reason that is the answer's doing and not the connection's.
type errUnmet string

func (e errUnmet) Error() string { return string(e) }

func unmet(format string, args ...any) error { return errUnmet(fmt.Sprintf(format, args...)) }

// met holds an answer against what it has to be, and returns the reason for
// success. Errors that are not errUnmet are the connection's.
func (e *expectation) met(res *http.Response) (string, error) {
	if !e.accepted.Contains(res.StatusCode) {
		if to := res.Header.Get("Location"); to != "" {
			return "", unmet("status %d to %s, want %s", res.StatusCode, printable(to), e.accepted)
		}
		return "", unmet("status %d, want %s", res.StatusCode, e.accepted)
	}
	detail := fmt.Sprintf("status %d", res.StatusCode)
	switch {
	case e.path != nil:
		return e.metByJSON(res.Body, detail)
	case len(e.digest) > 0:
		sum := sha256.New()
		n, err := io.Copy(sum, io.LimitReader(res.Body, digestLimit+1))
		switch {
		case err != nil:
			return "", err
		case n > digestLimit:
			return "", unmet("body is longer than %d MiB, too long for its SHA-256", digestLimit>>20)
		case string(sum.Sum(nil)) != string(e.digest):
			return "", unmet("SHA-256 of the body is %x", sum.Sum(nil))
		}
	case e.regex != nil || e.not != nil:
		body, err := io.ReadAll(io.LimitReader(res.Body, bodyLimit))
		if err != nil && !(errors.Is(err, io.ErrUnexpectedEOF) || len(body) == bodyLimit) {
			return "", err
		}
		if e.regex != nil && !e.regex.Match(body) {
			return "", unmet("body does not match %q", e.BodyRegex)
		}
		if e.not != nil && e.not.Match(body) {
			return "", unmet("body matches %q", e.BodyNotRegex)
		}
		if !strings.Contains(string(body), e.Body) {
			return "", unmet("body lacks %q", e.Body)
		}
	case e.Body != "":
		found, err := contains(io.LimitReader(res.Body, bodyLimit), []byte(e.Body))
		switch {
		case found:
		case err != nil:
			return "", err
		default:
			return "", unmet("body lacks %q", e.Body)
		}
	}
	return detail, nil
}

func (e *expectation) metByJSON(body io.Reader, detail string) (string, error) {
	text, err := io.ReadAll(io.LimitReader(body, jsonLimit+1))
	if err != nil {
		return "", err
	}
	if len(text) > jsonLimit {
		return "", unmet("body is longer than %d KiB, too long for JSON", jsonLimit>>10)
	}
	if e.Body != "" && !strings.Contains(string(text), e.Body) {
		return "", unmet("body lacks %q", e.Body)
	}
	if err := tooMuch(text); err != nil {
		return "", err
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return "", unmet("body is not JSON: %s", printable(err.Error()))
	}
	found := e.path.Select(value)
	if len(found) == 0 {
		return "", unmet("%s selects nothing of the body", e.JSON)
	}
	if e.JSONValue == "" {
		return detail, nil
	}
	got := ""
	for _, v := range found {
		if got = jsonText(v, e.JSONValue); got == e.JSONValue {
			return fmt.Sprintf("%s, %s is %s", detail, e.JSON, printable(got)), nil
		}
	}
	return "", unmet("%s is %s, want %s", e.JSON, printable(got), e.JSONValue)
}

// tooMuch is the reason for JSON that is nested deeper than jsonDepth, has more values than
// jsonValues, or more of them deep down than jsonWork.
func tooMuch(text []byte) error {
	depth, values, work, quoted := 0, 0, 0, false
	for i := 0; i < len(text); i++ {
		if work > jsonWork {
			return unmet("body has too many values too deep for JSON: the sum of their depths is more than %d", jsonWork)
		}
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case quoted:
		case c == '[' || c == '{':
			values++
			work += depth
			if depth++; depth > jsonDepth {
				return unmet("body is nested deeper than %d levels, too deep for JSON", jsonDepth)
			}
		case c == ']' || c == '}':
			depth--
		case c == ',':
			work += depth
			if values++; values > jsonValues {
				return unmet("body has more than %d values, too many for JSON", jsonValues)
			}
		}
	}
	return nil
}

// jsonText is a value as an operator writes it: a string without its quotes. One that
// cannot be what is wanted is not written out: a server may have nested thousands.
func jsonText(v any, want string) string {
	switch v := v.(type) {
	case string:
		return v
	case map[string]any:
		if !strings.HasPrefix(want, "{") {
			return "an object"
		}
	case []any:
		if !strings.HasPrefix(want, "[") {
			return "a list"
		}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
