package nlconn

// Shrink has the buffer begin with so many octets.
func Shrink(c *Conn, octets int) { c.in = make([]byte, octets) }
