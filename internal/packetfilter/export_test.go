package packetfilter

import "time"

// Renumber has the kernel's present number be that with which the tables were last as
// wanted, as after nf_tables was loaded again and has counted up to it, and says that they
// were read so long ago.
func Renumber(c Kernel, ago time.Duration) error {
	k := c.(*kernel)
	gen, err := k.ruleset.Generation()
	k.seen, k.read = gen, time.Now().Add(-ago)
	return err
}

// Trust is how long the number is believed.
const Trust = trust
