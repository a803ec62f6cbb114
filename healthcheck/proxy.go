package healthcheck

// HTTPProxy wants a page of another server through the server, which is a proxy.
type HTTPProxy struct {
	// Request is what the other server is asked; it is found by Host.
	Request
	// Scheme is how the other server is spoken to: with https, through a tunnel.
	Scheme string `key:"scheme" oneof:"http,https"`
	// ProxyUser and ProxyPassword log in at the proxy; empty is not at all.
	ProxyUser     string `key:"proxy_user"`
	ProxyPassword Secret `key:"proxy_password"`
	// Plaintext lets the passwords go over a connection without TLS.
	Plaintext bool `key:"plaintext"`
	// TLS is about the other server.
	TLS
}

var (
	_ Question  = HTTPProxy{}
	_ Validator = HTTPProxy{}
)

// Kind is "http_proxy".
func (HTTPProxy) Kind() string { return "http_proxy" }

// String is the host and the path.
func (q HTTPProxy) String() string { return q.Request.String() }

// Validate is part of Validator.
func (q HTTPProxy) Validate() []Problem {
	out := append(q.validate(), q.problems()...)
	out = append(out, proxyInClear(q.ProxyPassword, q.Plaintext)...)
	if q.Scheme != "https" && !q.Plaintext && q.Password != "" {
		out = append(out, Problem{Key: "password", Message: "would go over the network in clear: scheme = \"https\", or plaintext = true if that is meant"})
	}
	if q.Host == "" {
		out = append(out, Problem{Key: "host", Message: "want the host that the proxy is to fetch from, such as \"www.example.com\" or \"www.example.com:8080\""})
	}
	if q.ProxyUser == "" && q.ProxyPassword != "" {
		out = append(out, Problem{Key: "proxy_password", Message: "needs proxy_user beside it"})
	}
	return out
}

// Prepare is part of Question.
func (q HTTPProxy) Prepare() (ProbeFunc, error) {
	e, err := q.expectation()
	if err != nil {
		return nil, err
	}
	w := &web{scheme: "http", version: "1.1", requests: []*expectation{e}, through: &through{origin: q.Host, user: q.ProxyUser, password: q.ProxyPassword}}
	if q.Scheme == "https" {
		w.scheme, w.tls = "https", q.client()
	}
	return w.probe, nil
}

// through is a proxy on the way to another server.
type through struct {
	origin   string // the other server
	user     string
	password Secret
}

// proxyInClear is what is wrong with the login at the proxy, which has no TLS.
func proxyInClear(password Secret, plaintext bool) []Problem {
	if password == "" || plaintext {
		return nil
	}
	return []Problem{{Key: "proxy_password", Message: "goes to the proxy in clear: plaintext = true if that is meant"}}
}
