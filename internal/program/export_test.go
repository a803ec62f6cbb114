package program

import "os/exec"

// Starting is the time from before a program exists until it is known or could not be
// started; it ends when what it returns is called.
func Starting() (end func()) { return children.begin() }

// Dead starts a program that ends at once, and does not wait for it until what it returns
// is called.
func Dead() (wait func() error, err error) {
	c, err := children.start(exec.Command("/bin/true"))
	if err != nil {
		return nil, err
	}
	c.ended()
	return func() error { return children.wait(c) }, nil
}

// KeptUnread is what is kept of what a program has said that nobody has read when it ends.
func KeptUnread(said string) (Output, error) {
	c, err := newCapture()
	if err != nil {
		return "", err
	}
	defer c.close()
	if _, err := c.in.WriteString(said); err != nil {
		return "", err
	}
	c.done = make(chan struct{})
	close(c.done) // as if the one who reads had not had a processor
	return c.kept(), nil
}
