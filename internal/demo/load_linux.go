package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"lvsha/internal/lab"
)

// answer is the end of one request.
type answer struct {
	begun time.Time
	took  time.Duration
	from  string // the server's name
	err   error
}

// requester asks the virtual address over HTTP, each time on a new connection.
type requester struct {
	http http.Client
	url  string
}

func newRequester(h *lab.Host) *requester {
	return &requester{
		url: "http://" + vip.String() + "/",
		http: http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				to, err := netip.ParseAddrPort(address)
				if err != nil {
					return nil, err
				}
				return lab.Dial(ctx, h, to)
			},
		}},
	}
}

func (r *requester) ask(ctx context.Context) answer {
	a := answer{begun: time.Now()}
	a.from, a.err = r.get(ctx)
	a.took = time.Since(a.begun)
	return a
}

func (r *requester) get(ctx context.Context) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return "", err
	}
	response, err := r.http.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// askMany makes n requests, four at a time, and counts the answers by server.
func (r *requester) askMany(ctx context.Context, n int) (map[string]int, error) {
	var mu sync.Mutex // guards counts and errs
	counts := make(map[string]int)
	var errs []error
	todo := make(chan struct{}, n)
	for range n {
		todo <- struct{}{}
	}
	close(todo)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for range todo {
				a := r.ask(ctx)
				mu.Lock()
				if a.err != nil {
					errs = append(errs, a.err)
				} else {
					counts[a.from]++
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return counts, errors.Join(errs...)
}

// askSteadily makes a request every interval until stop is called, which
// returns the answers.
func (r *requester) askSteadily(ctx context.Context, every time.Duration) (stop func() []answer) {
	ctx, cancel := context.WithCancel(ctx)
	var mu sync.Mutex // guards answers
	var answers []answer
	var all sync.WaitGroup
	all.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			all.Go(func() {
				a := r.ask(context.WithoutCancel(ctx))
				mu.Lock()
				answers = append(answers, a)
				mu.Unlock()
			})
		}
	})
	return func() []answer {
		cancel()
		all.Wait()
		return answers
	}
}

// conversations are established connections to the echo service, each used
// once a second.
type conversations struct {
	conns  []net.Conn
	cancel context.CancelFunc
	done   sync.WaitGroup
	mu     sync.Mutex // guards what follows
	failed map[int]error
	rounds int
}

// converse opens n connections and starts using them.
func converse(ctx context.Context, h *lab.Host, n int) (*conversations, error) {
	c := &conversations{failed: make(map[int]error), conns: make([]net.Conn, n)}
	ctx, c.cancel = context.WithCancel(ctx)
	errs := make([]error, n)
	var opening sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i := range n {
		slots <- struct{}{}
		opening.Go(func() {
			defer func() { <-slots }()
			c.conns[i], errs[i] = lab.Dial(ctx, h, netip.AddrPortFrom(vip, 7))
			if errs[i] == nil {
				errs[i] = exchange(c.conns[i], fmt.Sprintf("hello %d", i))
			}
		})
	}
	opening.Wait()
	if err := errors.Join(errs...); err != nil {
		c.close()
		return nil, fmt.Errorf("opening connections through the virtual address: %w", err)
	}
	for i := range c.conns {
		c.done.Go(func() { c.use(ctx, i) })
	}
	return c, nil
}

// use exchanges a line a second, spread over the second.
func (c *conversations) use(ctx context.Context, i int) {
	timer := time.NewTimer(time.Second * time.Duration(i) / time.Duration(len(c.conns)))
	defer timer.Stop()
	for round := 0; ; round++ {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(time.Second)
		err := exchange(c.conns[i], fmt.Sprintf("round %d of %d", round, i))
		c.mu.Lock()
		c.rounds++
		if err != nil {
			c.failed[i] = err
		}
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// exchange writes a line and wants it back within ten seconds.
func exchange(conn net.Conn, line string) error {
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, line); err != nil {
		return err
	}
	back := make([]byte, len(line))
	if _, err := io.ReadFull(conn, back); err != nil {
		return err
	}
	if string(back) != line {
		return fmt.Errorf("sent %q, got %q", line, back)
	}
	return nil
}

// close ends the use and says how many connections were alive to the end.
func (c *conversations) close() (alive int, err error) {
	c.cancel()
	c.done.Wait()
	for i, conn := range c.conns {
		if conn == nil {
			continue
		}
		conn.Close()
		if c.failed[i] == nil {
			alive++
		} else if err == nil {
			err = c.failed[i]
		}
	}
	return alive, err
}

// alive is how many connections have not failed so far, and how many exchanges
// there were.
func (c *conversations) alive() (alive, rounds int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns) - len(c.failed), c.rounds
}
