// Package examples holds complete configurations, one directory for each kind
// of deployment.
package examples

import _ "embed"

// DRPair is dr-pair/lvsha.toml, which the demo runs as it is.
//
//go:embed dr-pair/lvsha.toml
var DRPair string
