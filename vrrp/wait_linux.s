// The functions of package runtime in wait_linux.go have no bodies there, which
// the compiler allows in a package with an assembly file.
