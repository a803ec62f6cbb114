package control

// maxPlan bounds the body of a request with a file.
const maxPlan = 64 << 20

// PlanRequest asks what applying a file would change.
type PlanRequest struct {
	// File is the name to speak of it by, and Text the file. Without a text it is the
	// daemon's own file, as it is now.
	File string `json:"file"`
	Text string `json:"text"`
}

// Plan is what applying a file would change: nothing, where Changes and IPVS are empty.
type Plan struct {
	File string `json:"file"`
	// Changes are those of the running daemon.
	Changes []PlannedChange `json:"changes"`
	// IPVS are those of the kernel's table as it is now, in their order.
	IPVS []PlannedIPVS `json:"ipvs"`
	// Connections and Templates add up what the changes of IPVS would cut.
	Connections int `json:"connections"`
	Templates   int `json:"templates"`
	// Warnings say why the plan may not be all.
	Warnings []string `json:"warnings,omitempty"`
}

// PlannedChange is a change of the daemon.
type PlannedChange struct {
	// Kind is such as "virtual router", "service" or "check", and Name which.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Change is what becomes of it: "new", "gone", or a value before and after.
	Change string `json:"change"`
}

// PlannedIPVS is a change of the kernel's table.
type PlannedIPVS struct {
	Change  string `json:"change"`
	Service string `json:"service"`
	Server  string `json:"server,omitempty"`
	// Connections are those that it cuts, and Templates the clients whose server
	// persistence forgets.
	Connections int `json:"connections"`
	Templates   int `json:"templates"`
	// When is what it waits for: the first probe of a server.
	When string `json:"when,omitempty"`
}
