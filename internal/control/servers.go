package control

import (
	"fmt"
	"time"
)

// What is done to servers.
const (
	// DoDrain gives a server no new connections, and takes it out when it has none left.
	DoDrain = "drain"
	// DoUndrain ends a drain, whether it is done or not.
	DoUndrain = "undrain"
	// DoWeight puts a weight in place of the one in the file.
	DoWeight = "weight"
	// DoUnweight ends that.
	DoUnweight = "unweight"
	// DoShow changes nothing.
	DoShow = "show"
)

// ServersRequest asks for something to be done to servers.
type ServersRequest struct {
	// Do is one of the constants.
	Do string `json:"do"`
	// Service is a name, or what the kernel knows a service by that has left the file, such
	// as "192.0.2.10:80/tcp"; empty means all services.
	Service string `json:"service"`
	// Server is ADDRESS, which means all ports, or ADDRESS:PORT.
	Server string `json:"server"`
	// Weight is 0 to 65535, of DoWeight.
	Weight int `json:"weight"`
	// For is after what time a drain is done whatever connections there are, or a weight
	// ends; zero is never.
	For time.Duration `json:"for"`
	// Force does it although a service is left without a server in use.
	Force bool `json:"force,omitempty"`
}

// Words are what is asked for.
func (r ServersRequest) Words() string {
	var s string
	switch r.Do {
	case DoDrain:
		s = "a drain"
	case DoUndrain:
		return "the end of a drain"
	case DoWeight:
		s = fmt.Sprintf("weight %d", r.Weight)
	case DoUnweight:
		return "the weight in the file"
	}
	if r.For > 0 {
		s += fmt.Sprintf(" for %v at most", r.For)
	}
	return s
}

// ServersChanged is the answer: the servers as they are now.
type ServersChanged struct {
	Servers []ServerOf `json:"servers"`
	// Warnings are what did not take effect yet, each with its reason.
	Warnings []string `json:"warnings,omitempty"`
	// Unkept says that the request holds but could not be written down, and why.
	Unkept string `json:"unkept,omitempty"`
}

// ServerOf is a server of a service.
type ServerOf struct {
	Service string `json:"service"`
	// Scale is the service's.
	Scale int `json:"scale"`
	Server
}
