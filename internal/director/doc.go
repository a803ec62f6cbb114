// Package director is the one place where roles and health become desired
// kernel state. It joins the rooms and has little to say itself: the rooms
// decide who is active, who is up and what must change in the kernel.
package director
