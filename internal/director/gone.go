package director

import (
	"fmt"
	"slices"
	"strings"

	"lvsha/internal/control"
	"lvsha/ipvs"
)

// gone are the servers of which operators asked for something and that the file does not
// have any more, in order. They are as asked again when they are back in the file.
func (j *judging) gone() []serverKey {
	var out []serverKey
	for k := range j.kept {
		if row := j.at[k.service]; row == nil || row.place(k.server) < 0 {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, serverKey.compare)
	return out
}

// goneProblems names them, with what ends it.
func (j *judging) goneProblems() (out []string) {
	more := 0
	for _, k := range j.gone() {
		if len(out) >= shown {
			more++
			continue
		}
		service := k.service.String()
		if strings.Contains(service, " ") {
			service = "'" + service + "'"
		}
		said := func(what, ends string) {
			out = append(out, fmt.Sprintf("server %s of %s is not in the file any more, but an operator's %s of it is kept: lvsha %s ends it", k.server, k.service, what, ends))
		}
		if j.kept[k].Drain != nil {
			said("drain", fmt.Sprintf("undrain %s %s", service, k.server))
		}
		if j.kept[k].Weight != nil {
			said("weight", fmt.Sprintf("weight %s %s --back", service, k.server))
		}
	}
	if more > 0 {
		out = append(out, fmt.Sprintf("and %d more servers that are not in the file any more and of which operators asked for something", more))
	}
	return out
}

// goneAsked are those of them for which a request ends something. A service that has left
// the file goes by what the kernel knows it by, such as "192.0.2.10:80/tcp".
func (j *judging) goneAsked(ask control.ServersRequest) (keys []serverKey, err error) {
	if ask.Do != control.DoUndrain && ask.Do != control.DoUnweight {
		return nil, nil
	}
	matches, err := serverNamed(ask.Server)
	if err != nil {
		return nil, err
	}
	listens := make(map[ipvs.ServiceKey]bool)
	for _, row := range j.of(ask.Service) {
		listens[row.listen] = true
	}
	for _, k := range j.gone() {
		ends := j.kept[k].Drain != nil
		if ask.Do == control.DoUnweight {
			ends = j.kept[k].Weight != nil
		}
		named := ask.Service == "" || ask.Service == k.service.String() || listens[k.service]
		if ends && named && matches(k.server) {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// goneStatus shows one for which a request has ended something.
func goneStatus(k serverKey) control.ServerOf {
	return control.ServerOf{
		Service: k.service.String(), Scale: 1,
		Server: control.Server{Address: k.server.String(), State: "absent", Reason: "not in the file any more"},
	}
}
