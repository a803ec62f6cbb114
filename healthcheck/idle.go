package healthcheck

// Idler is a Question of which some keys do nothing, because of how others are set.
type Idler interface {
	// Idle returns those keys, each with why it does nothing, such as "without tls".
	Idle() map[string]string
}

// idle are the keys of TLS where none is spoken.
func (TLS) idle(why string) map[string]string {
	return map[string]string{
		"ca": why, "client_cert": why, "client_key": why, "server_name": why, "insecure": why, "expiry_days": why, "tls_compat": why,
	}
}

// Why keys do nothing.
const (
	withoutTLS      = "without tls"
	withoutPassword = "without a password"
	overTLSAlready  = "as the password only goes over TLS"
)

// idleSecurity are the keys that do nothing for a way to TLS, and for a password or none.
func (c TLS) idleSecurity(security string, password Secret) map[string]string {
	out := make(map[string]string)
	if security == tlsOff || security == "" {
		out = c.idle(withoutTLS)
	}
	switch {
	case password == "":
		out["plaintext"] = withoutPassword
	case security == tlsOn || security == tlsStart:
		out["plaintext"] = overTLSAlready
	}
	return out
}

// inClear is what is wrong with a password that would go over a connection without TLS.
func inClear(key string, password Secret, security string, plaintext bool) []Problem {
	if password == "" || plaintext || security != tlsOff && security != "" {
		return nil
	}
	return []Problem{{Key: key, Message: "would go over the network in clear: set tls, or plaintext = true if that is meant"}}
}

var _ = []Idler{SMTP{}, NNTP{}, FTP{}, IMAP{}, POP3{}, LDAP{}, Redis{}, GRPC{}, SQL{}, DNS{}, SIP{}, HTTPProxy{}, TCP{}, HTTP{}}

// Idle is part of Idler.
func (q SMTP) Idle() map[string]string {
	out := q.idleSecurity(q.Security, q.Password)
	if q.User == "" {
		out["auth"] = "without user"
	}
	return out
}

// Idle is part of Idler.
func (q NNTP) Idle() map[string]string { return q.idleSecurity(q.Security, q.Password) }

// Idle is part of Idler.
func (q FTP) Idle() map[string]string { return q.idleSecurity(q.Security, q.Password) }

// Idle is part of Idler.
func (q IMAP) Idle() map[string]string { return q.idleSecurity(q.Security, q.Password) }

// Idle is part of Idler.
func (q POP3) Idle() map[string]string { return q.idleSecurity(q.Security, q.Password) }

// Idle is part of Idler.
func (q LDAP) Idle() map[string]string { return q.idleSecurity(q.Security, q.Password) }

// Idle is part of Idler.
func (q Redis) Idle() map[string]string { return q.idleSecurity(q.Security, q.Password) }

// Idle is part of Idler.
func (q SQL) Idle() map[string]string { return q.idleSecurity(q.Security, q.Password) }

// Idle is part of Idler.
func (q GRPC) Idle() map[string]string { return q.idleSecurity(q.Security, "") }

// Idle is part of Idler.
func (q DNS) Idle() map[string]string {
	if q.Transport == "tls" {
		return nil
	}
	return q.idle(`without transport = "tls"`)
}

// Idle is part of Idler.
func (q SIP) Idle() map[string]string {
	if q.Transport == "tls" {
		return nil
	}
	return q.idle(`without transport = "tls"`)
}

// Idle is part of Idler.
func (q TCP) Idle() map[string]string {
	if q.Encrypt {
		return nil
	}
	return q.idle(withoutTLS)
}

// Idle is part of Idler.
func (q HTTP) Idle() map[string]string {
	if q.Password == "" {
		return map[string]string{"plaintext": withoutPassword}
	}
	return nil
}

// Idle is part of Idler.
func (q HTTPProxy) Idle() map[string]string {
	out := make(map[string]string)
	if q.Scheme != "https" {
		out = q.idle(`without scheme = "https"`)
	}
	switch {
	case q.ProxyPassword != "": // which the proxy gets in clear in any case
	case q.Password == "":
		out["plaintext"] = withoutPassword
	case q.Scheme == "https":
		out["plaintext"] = overTLSAlready
	}
	return out
}
