package rig

import (
	"fmt"
	"time"

	"lvsha/internal/lab"
)

// KeepalivedFile configures the same virtual router.
func KeepalivedFile(version int, advertise time.Duration, priority int) string {
	return fmt.Sprintf(`
global_defs {
  vrrp_version %d
}
vrrp_instance web {
  interface eth0
  virtual_router_id 51
  priority %d
  advert_int %g
  virtual_ipaddress {
    10.0.0.100/24 dev eth0
  }
}
`, version, priority, advertise.Seconds())
}

// Keepalived starts keepalived's VRRP on a host with a file.
func (r *Rig) Keepalived(h *lab.Host, file string) *lab.Process {
	r.Helper()
	r.Check(h.WriteFile("/run/keepalived.conf", []byte(file), 0o600))
	p, err := h.Start(nil, "keepalived", "--dont-fork", "--log-console", "--log-detail", "--vrrp", "-f", "/run/keepalived.conf",
		"-p", "/run/keepalived.pid", "-r", "/run/vrrp.pid")
	r.Check(err)
	r.Life.Cleanup(func() {
		if r.Life.Failed() {
			r.Life.Logf("keepalived on %s printed:\n%s", h.Name, p.Output())
		}
	})
	return p
}
