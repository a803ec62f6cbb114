// Package vrrp goes from an advertisement on the wire to owning the virtual
// addresses: VRRP version 3 (RFC 9568 with its errata) and version 2 (RFC 3768).
//
// A [Router] is one virtual router as a pure value: Step takes the time and an
// event and returns actions, Deadline says when it wants to be asked again. An
// [Engine] runs any number of them on one locked OS thread over a [Port] (the
// network) and [Links] (interfaces and addresses).
//
// # Deliberate deviations
//
//   - Accept_Mode is true (V3-OWN-08), and in version 2 too (V2-FSM-03): IPVS sees
//     only packets that the machine accepts.
//   - The virtual MAC is used where Config.Virtual is set (V3-TX-02, V3-ACT-01,
//     V3-BCK-03). Otherwise addresses sit on the interface with its own MAC, as with
//     keepalived by default, and gratuitous ARP or unsolicited neighbour
//     advertisements move the hosts (ARP-02, V3-V6-03).
//   - With it, answers to ARP come from the virtual MAC in the frame too
//     (V3-ACT-01 has the physical one there), so that switches learn its port; and
//     what the director asks of hosts comes from its own address and MAC
//     (V3-V6-04). To unicast peers advertisements always go from that.
//   - No router advertisements are sent (V3-V6-10). A director that is a router for
//     hosts that configure themselves runs a daemon of its own for them.
//   - IPv6 addresses are added without duplicate address detection (V3-V6-06), so
//     that they work at once; the kernel joins the solicited-node group with each
//     of them (V3-V6-02).
//   - Neighbour advertisements keep the pace of gratuitous ARP, five at once and
//     more later: NA-04's one a second, at most three, would lose what the burst is
//     for when the first is lost. keepalived does the same.
//   - ChecksumAuto accepts a version 3 checksum over IPv4 with and without
//     pseudo-header and sends the former, which keepalived wants (V3-CSUM-04).
//   - A router that gives its addresses up is [Leaving] for a moment (V3-ACT-06,
//     V3-ACT-09): it sends nothing more, but serves until the next Active has
//     announced them, or for 50 ms after its advertisement. When nobody speaks it
//     serves for one second more than the Skew_Time of priority 1 (50 ms where all
//     other directors have said that they left). No packet is lost. The next Active repeats its announcement 20 ms,
//     100 ms and 1 s later, because hosts may have heard the old one meanwhile.
//   - A process that finds the record of a former one resumes (V3-INI-02): younger
//     than three intervals it is Active at once; older it keeps the addresses,
//     listens for one interval and goes on unless a winning advertisement comes.
//   - Immediate replies to losing advertisements are sent in version 2 as well
//     (V2-FSM-01, V2-FSM-02), and never more than a token bucket has (V3-ACT-13).
//   - Version 2 uses a packet whose address list differs (V2-RX-02), as keepalived
//     does: the alternative is two Actives while a change is rolled out.
//   - An advertisement that has none of our addresses, from a sender that is no director
//     of the file, does not count: other routers on the segment have our VRID by accident,
//     and the lower of the two would give its addresses to nobody. Where keys or unicast
//     peers say who belongs together, or with a virtual MAC, it counts.
//   - Advertisements of priority 0 set Active_Down_Timer once, until another is
//     accepted (V3-BCK-13): a flood cannot postpone the takeover.
//   - A Backup whose timer runs more than an interval late listens for one more
//     interval (SIM-PAUSE-07): the machine may have slept.
//   - An Active none of whose addresses can be installed sends priority 0 and is in
//     [Fault] for a while (SIM-SAFE-02). With some of them it stays, and the
//     rest is tried again.
//   - An Active repeats one round of gratuitous ARP every 10 s (ARP-08): the winner
//     of a split need not hear of the loser, which leaves silently (V3-ACT-09).
//   - There is no authentication header (V2-AUTH-02). The HMAC trailer of keepalived
//     2.4 (KA-HMAC) protects either version and family. What was heard last is not
//     kept over a restart: an advertisement that was recorded within the window
//     before it may pass once, as with keepalived.
//   - A signed packet where no key is configured is dropped for its authentication
//     and not for its length (V3-RX-13): that is what the operator has to mend.
//   - The owner (priority 255) installs its addresses where they are missing. It never
//     removes what it advertises, as that is the machine's own.
package vrrp
