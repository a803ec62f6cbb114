package main

import "testing"

// TestParseWay: --forward is what a real server has a half of.
func TestParseWay(t *testing.T) {
	for forward, want := range map[string]bool{"dr": true, "tun": true, "nat": false, "local": false, "fullnat": false, "": false} {
		if _, err := parseWay(forward, "ipip"); (err == nil) != want {
			t.Errorf("--forward %q: %v", forward, err)
		}
	}
}
