package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"lvsha/internal/director"
	"lvsha/internal/netif"
	"lvsha/internal/packetfilter"
	"lvsha/ipvs"
	connsync "lvsha/sync"
)

func cleanup(_ context.Context, c *call) error {
	all := c.flags.Bool("all", false, "also what a crashed or restarting daemon left on purpose")
	socket := c.socketFlag()
	if err := c.parse(); err != nil {
		return err
	}
	dir := runDir(*socket)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		fmt.Fprintln(c.stdout, "nothing is left")
		return nil
	}
	lock, err := director.Lock(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	links := netif.New(nil)
	defer links.Close()
	clean := director.Cleanup{Dir: dir, Links: links, Routing: links, IPVS: ipvs.Open, Sync: connsync.Open, Filter: packetfilter.Open}
	act := clean.Unfinished
	if *all {
		act = clean.All
	}
	done, err := act()
	for _, line := range done {
		fmt.Fprintln(c.stdout, line)
	}
	return err
}
