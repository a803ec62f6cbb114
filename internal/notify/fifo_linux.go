package notify

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// openFIFO is a FIFO that is open for writing; the zero value is none.
type openFIFO struct {
	path string
	fd   int
	// device and inode tell whether path is still this one.
	device, inode uint64
}

// open opens the FIFO at path, which is made if there is none. Open for reading
// too, it keeps what nobody reads yet, and nothing is an error because there is no
// reader. An empty path closes it.
func (o *openFIFO) open(path string) error {
	var st unix.Stat_t
	if path == o.path && (path == "" || unix.Lstat(path, &st) == nil && st.Dev == o.device && st.Ino == o.inode) {
		return nil
	}
	o.close()
	if path == "" {
		return nil
	}
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("making fifo %s: %w", path, err)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("opening fifo %s: %w", path, err)
	}
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return fmt.Errorf("looking at fifo %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		unix.Close(fd)
		return fmt.Errorf("%s is there and is no fifo", path)
	}
	o.path, o.fd, o.device, o.inode = path, fd, st.Dev, st.Ino
	return nil
}

// write writes a line whole, or says that there is no room. A line is shorter than
// PIPE_BUF, so it is never cut.
func (o *openFIFO) write(line string) (full bool, err error) {
	for {
		_, err := unix.Write(o.fd, []byte(line))
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return true, nil
		case err != nil:
			return false, fmt.Errorf("writing fifo %s: %w", o.path, err)
		default:
			return false, nil
		}
	}
}

// close closes it. One that is not open is fine.
func (o *openFIFO) close() {
	if o.path != "" {
		unix.Close(o.fd)
	}
	*o = openFIFO{}
}
