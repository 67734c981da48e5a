package main

import (
	"fmt"
	"math"
	"time"
)

// This file says what is good enough, and what to do where it is not: functions of what was found alone.

// Below these a machine holds the others up.
const (
	leastMemory    = 2 << 30   // the tiny base model and its caches
	leastSpace     = 5 << 30   // files of a run, shards, a checkpoint's pieces
	leastDisk      = 50e6      // bytes per second of durable writes; a checkpoint piece of 1 GB then takes 20 s
	leastLink      = 100e6 / 8 // bytes per second, Fast Ethernet
	slowLink       = 900e6 / 8 // what Gigabit Ethernet should give
	leastMTU       = 1280      // of IPv6
	farAway        = 5 * time.Millisecond
	plainMTU       = 1500
	headers        = 100       // of IP and TCP, with room for options
	nearlyDistrust = time.Hour // what certificates allow for a clock that is behind
)

// judgeCores compares the threads that a node will have with the cores it sees and may use; allowed is +Inf without a
// limit.
func judgeCores(cores, threads int, allowed float64) check {
	c := check{Name: "cores", State: good, Found: fmt.Sprintf("%d, %d threads", cores, threads), Value: float64(cores)}
	if !math.IsInf(allowed, 1) {
		c.Found += fmt.Sprintf(", limited to %.4g by the control group", allowed)
	}
	if usable := min(float64(cores), allowed); float64(threads) > usable+0.5 {
		c.State = so
		c.Advice = fmt.Sprintf("more threads than cores wait for each other: set --threads %d", max(1, int(usable)))
	}
	return c
}

// judgeTier judges the kernels' instruction set.
func judgeTier(tier, arch string) check {
	c := check{Name: "processor", State: good, Found: arch + ", kernels " + tier}
	if tier == "portable" && arch == "amd64" {
		c.State, c.Advice = so, "without AVX2 a step takes ten times as long or more; the results are the same. In a virtual machine, pass the host's processor through (cpu mode host-passthrough)"
	}
	return c
}

// judgeMemory judges what is free of what this machine or the control group has; 0 is not known.
func judgeMemory(total, free uint64) check {
	if total == 0 {
		return check{Name: "memory", State: unknown, Found: "this system does not tell"}
	}
	c := check{Name: "memory", State: good, Found: fmt.Sprintf("%s, %s of it free", size(total), size(free)), Value: float64(free)}
	switch {
	case total < leastMemory:
		c.State, c.Advice = bad, fmt.Sprintf("even the smallest models want %s: `coordinator plan SPEC` says how much a run takes", size(leastMemory))
	case free < leastMemory:
		c.State, c.Advice = so, "other programs hold the rest: end them, or tell the node what it may use with --memory"
	}
	return c
}

// judgeDisk judges the rate of durable writes.
func judgeDisk(dir string, rate float64) check {
	c := check{Name: "disk", State: good, Found: fmt.Sprintf("%s/s durable writes at %s", size(uint64(rate)), dir), Value: rate}
	if rate < leastDisk {
		c.State, c.Advice = so, "checkpoints and files of a run will be slow to keep: put --home on a local disk, best an SSD"
	}
	return c
}

// judgeSpace judges what is free below the home directory.
func judgeSpace(dir string, free uint64) check {
	c := check{Name: "space", State: good, Found: fmt.Sprintf("%s free at %s", size(free), dir), Value: float64(free)}
	switch {
	case free < leastSpace/10:
		c.State, c.Advice = bad, "make room there, or choose another place with --home or TORC_HOME"
	case free < leastSpace:
		c.State, c.Advice = so, fmt.Sprintf("models, shards and checkpoints come here: have %s or more, here or elsewhere with --home", size(leastSpace))
	}
	return c
}

// judgeClock judges whether something keeps the clock right.
func judgeClock(synchronised, known bool) check {
	switch {
	case !known:
		return check{Name: "clock", State: unknown, Found: "this system does not tell whether it is kept right"}
	case !synchronised:
		return check{
			Name: "clock", State: so, Found: "nothing keeps it right",
			Advice: "certificates count by the clock, and logs of several machines are compared by it: run chrony or systemd-timesyncd (timedatectl set-ntp true); in a container the host must",
		}
	}
	return check{Name: "clock", State: good, Found: "kept right by the system"}
}

// judgeSkew compares this clock with the time within which the coordinator's certificate counts.
func judgeSkew(now, from, until time.Time) check {
	c := check{Name: "clocks", State: good, Found: "within what the coordinator's certificate allows"}
	switch {
	case now.Before(from):
		c.State, c.Found = bad, fmt.Sprintf("this machine's clock is at least %v behind the coordinator's", (from.Sub(now)+nearlyDistrust).Round(time.Minute))
		c.Advice = "set the clock (timedatectl set-ntp true) before joining: no certificate would count here"
	case now.After(until):
		c.State, c.Found = bad, fmt.Sprintf("the coordinator's certificate ended %v ago by this machine's clock", now.Sub(until).Round(time.Minute))
		c.Advice = "set this machine's clock; if it is right, the coordinator's is wrong, or it has stood still: restart it"
	}
	return c
}

// judgeMTU judges the size of packets on the way to a peer: of the interface, and of what the connection agreed on.
func judgeMTU(peer, nic string, mtu, mss int) check {
	c := check{Name: "mtu", State: good, Found: fmt.Sprintf("%d on %s towards %s, segments of %d", mtu, nic, peer, mss), Value: float64(mtu)}
	if mtu == 0 {
		return check{Name: "mtu", State: unknown, Found: "this system does not tell"}
	}
	switch {
	case mtu < leastMTU:
		c.State, c.Advice = bad, fmt.Sprintf("gossip packets of up to 1400 bytes get lost: raise the MTU of %s to %d", nic, plainMTU)
	case mtu < plainMTU:
		c.State, c.Advice = so, "a tunnel takes part of each packet: all members should have the same MTU, and larger is faster"
	case mss > 0 && mtu <= 1<<14 && mtu-mss > headers:
		c.State, c.Advice = so, fmt.Sprintf("the peer or something between takes smaller packets than %s sends: give both ends the same MTU", nic)
	}
	return c
}

// judgeLink judges what a link carries in each direction, in bytes per second, and how long a message is on its way.
func judgeLink(peer string, there, back float64, rtt time.Duration) check {
	c := check{
		Name: "link", State: good, Value: min(there, back),
		Found: fmt.Sprintf("%s: %s there, %s back, %v there and back again", peer, bits(there), bits(back), rtt.Round(time.Microsecond)),
	}
	switch slow := min(there, back); {
	case slow < leastLink:
		c.State, c.Advice = bad, "slower than Fast Ethernet: look at the cable, the port's speed (ethtool) and Wi-Fi; `coordinator plan SPEC` says what a step sends"
	case slow < slowLink:
		c.State, c.Advice = so, "slower than Gigabit Ethernet: look at the port's speed (ethtool); leave reduce.pack on"
	case rtt > farAway:
		c.State, c.Advice = so, "far apart: each step waits for 2·(members−1) messages in a row; put members into one place"
	case there > 3*back || back > 3*there:
		c.State, c.Advice = so, "one direction is much slower than the other: look at duplex and at the errors of the interface (ip -s link)"
	}
	return c
}

// size is a number of bytes for people.
func size(n uint64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

// bits is a rate in bytes per second for people, who know their network in bits.
func bits(rate float64) string {
	if rate >= 1e9/8 {
		return fmt.Sprintf("%.3g Gbit/s", rate*8/1e9)
	}
	return fmt.Sprintf("%.3g Mbit/s", rate*8/1e6)
}
