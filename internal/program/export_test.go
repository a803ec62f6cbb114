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
