package bfd

import "time"

// wanted are Desired Min TX Interval and Required Min RX Interval of the state the
// session is in.
func (s *Session) wanted() (minTx, minRx time.Duration) {
	if s.state == Up {
		return s.params.Interval, s.params.Interval
	}
	return max(s.params.Interval, slowest), s.params.Interval
}

// negotiate takes over what the session wants now, with a poll if anything
// changed (RFC 5880 section 6.8.3). While Up, less than before takes effect only
// when the peer has answered: until then it goes by the old values.
func (s *Session) negotiate(now time.Time) {
	minTx, minRx := s.wanted()
	if (minTx != s.minTx || minRx != s.minRx) && s.remote.discriminator != 0 {
		s.again = s.poll
		s.poll = true
	}
	s.minTx, s.minRx = minTx, minRx
	if s.state != Up || minTx < s.txForce {
		s.txForce = minTx
	}
	if s.state != Up || minRx > s.rxForce {
		s.rxForce = minRx
		if !s.expires.IsZero() {
			s.expires = s.heard.Add(s.detection())
			if s.voided {
				s.expires = later(s.expires, now.Add(s.detection()))
			}
		}
	}
}

// final is the end of a poll: the peer knows our values.
func (s *Session) final() {
	s.poll, s.again = s.again, false
	if !s.poll {
		s.txForce, s.rxForce = s.minTx, s.minRx
	}
}

// transmission is how often packets are sent, before jitter; 0 is not at all.
func (s *Session) transmission() time.Duration {
	switch {
	case s.state == AdminDown, s.remote.minRx == 0:
		return 0
	case s.remote.demand && s.state == Up && s.remote.state == Up && !s.poll:
		return 0
	}
	return max(s.txForce, s.remote.minRx)
}

// detection is how long nothing may be heard (RFC 5880 section 6.8.4); 0 while
// nothing was heard at all.
func (s *Session) detection() time.Duration {
	return time.Duration(s.remote.multiplier) * max(s.rxForce, s.remote.minTx)
}

// schedule plans the next periodic packet, from the last one: a gap that is
// under way changes with the interval. It is shortened at random so that senders
// do not fall into step (RFC 5880 section 6.8.7).
func (s *Session) schedule(now time.Time) {
	gap := s.transmission()
	if gap == 0 {
		s.next, s.gap = time.Time{}, 0
		return
	}
	if !s.next.IsZero() && gap == s.gap {
		return
	}
	s.gap = gap
	if s.sent.IsZero() {
		s.next = now
		return
	}
	less := 0.25 * s.random()
	if s.params.Multiplier == 1 {
		less = 0.10 + 0.15*s.random()
	}
	s.next = later(now, s.sent.Add(time.Duration((1-less)*float64(gap))))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
