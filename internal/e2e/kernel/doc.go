// Package kernel tests what the programs do with a kernel that has IPVS. Tests with the
// tag ipvskernel are run by TestWithIPVSKernel where there is such a kernel.
package kernel
