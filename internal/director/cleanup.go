package director

import (
	"errors"
	"fmt"
	"os"

	"lvsha/internal/packetfilter"
	"lvsha/ipvs"
	connsync "lvsha/sync"
	"lvsha/vrrp"
)

// Cleanup gives up what a dead daemon left behind.
type Cleanup struct {
	// Dir is where the record is.
	Dir   string
	Links vrrp.Links
	IPVS  func() (ipvs.Kernel, error)
	Sync  func() (connsync.Kernel, error)
	// Filter is where tables of nftables are removed; nil leaves them.
	Filter func() (packetfilter.Kernel, error)
	// Routing is where sysctls are put back; nil leaves them.
	Routing Routing
}

// Unfinished removes what is left of a stop that did not come to its end. A
// daemon that crashed, or that stopped in order to be started again, keeps
// everything: the kernel goes on forwarding until the next process takes over.
// It returns what it did, a sentence each.
func (c Cleanup) Unfinished() ([]string, error) {
	record, err := readRecord(c.Dir)
	if err != nil {
		return nil, err
	}
	switch record.Phase {
	case Releasing:
		return c.remove(record)
	case Running, Held:
		return []string{"the last daemon left everything in place for the next one; `lvsha cleanup --all` removes it"}, nil
	default:
		return []string{"nothing is left"}, nil
	}
}

// All removes everything that the record names, whatever the last daemon meant.
func (c Cleanup) All() ([]string, error) {
	record, err := readRecord(c.Dir)
	if err != nil {
		return nil, err
	}
	if record.Phase == Released {
		return []string{"nothing is left"}, nil
	}
	return c.remove(record)
}

// remove goes on after an error; the record stays unless all was removed.
func (c Cleanup) remove(record Record) ([]string, error) {
	var done []string
	var errs []error
	held, _, err := record.Holdings.release(c.Links)
	done, errs = append(done, held...), append(errs, err)
	services, err := c.removeServices(record.Services)
	done, errs = append(done, services...), append(errs, err)
	timeouts, err := c.restoreTimeouts(record.Timeouts)
	done, errs = append(done, timeouts...), append(errs, err)
	daemons, err := c.stopDaemons(record.Daemons)
	done, errs = append(done, daemons...), append(errs, err)
	if record.Filter && c.Filter != nil {
		err := c.removeFilter()
		if errs = append(errs, err); err == nil {
			done = append(done, "removed the nftables tables "+packetfilter.TableName)
		}
	}
	if c.Routing != nil {
		put, _, err := restoreSysctls(c.Routing, lastFirst(record.Sysctls))
		done, errs = append(done, put...), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return done, err
	}
	if err := os.Remove(recordPath(c.Dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return done, fmt.Errorf("removing the record: %w", err)
	}
	return done, nil
}

func (c Cleanup) removeFilter() error {
	kernel, err := c.Filter()
	if err != nil {
		return err
	}
	defer kernel.Close()
	return kernel.Replace(nil)
}

func (c Cleanup) removeServices(keys []ipvs.ServiceKey) ([]string, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	kernel, err := c.IPVS()
	if errors.Is(err, ipvs.ErrNoIPVS) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer kernel.Close()
	table, err := kernel.List()
	if err != nil {
		return nil, err
	}
	var done []string
	var errs []error
	for _, service := range table {
		for _, key := range keys {
			if service.Key != key {
				continue
			}
			if err := kernel.RemoveService(key); err != nil {
				errs = append(errs, fmt.Errorf("removing service %s: %w", key, err))
				continue
			}
			done = append(done, fmt.Sprintf("removed service %s", key))
		}
	}
	return done, errors.Join(errs...)
}

// restoreTimeouts puts back those that were found.
func (c Cleanup) restoreTimeouts(found ipvs.Timeouts) ([]string, error) {
	if found == (ipvs.Timeouts{}) {
		return nil, nil
	}
	kernel, err := c.IPVS()
	if errors.Is(err, ipvs.ErrNoIPVS) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer kernel.Close()
	if err := kernel.SetTimeouts(found); err != nil {
		return nil, fmt.Errorf("putting the timeouts of IPVS back: %w", err)
	}
	return []string{"put the timeouts of IPVS back to what they were"}, nil
}

func (c Cleanup) stopDaemons(roles []connsync.Role) ([]string, error) {
	if len(roles) == 0 {
		return nil, nil
	}
	kernel, err := c.Sync()
	if errors.Is(err, connsync.ErrNoIPVS) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer kernel.Close()
	running, err := kernel.List()
	if err != nil {
		return nil, err
	}
	var done []string
	var errs []error
	for _, daemon := range running {
		for _, role := range roles {
			if daemon.Role != role {
				continue
			}
			if err := kernel.Stop(role); err != nil {
				errs = append(errs, fmt.Errorf("stopping the %s sync daemon: %w", role, err))
				continue
			}
			done = append(done, fmt.Sprintf("stopped the %s sync daemon", role))
		}
	}
	return done, errors.Join(errs...)
}
