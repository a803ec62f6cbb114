/* Loaded into keepalived (LD_PRELOAD), this stands in for the kernel's IPVS: the
   requests to its netlink family are answered with success, and those that change
   destinations are written to the file that STANDIN_LOG names, a line each: the
   monotonic clock, the command's number, address and port of the destination. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FAMILY 4242 /* no family has this number */
#define CMD_ATTR_DEST 2
#define DEST_ATTR_ADDR 1
#define DEST_ATTR_PORT 2

struct header { uint32_t len; uint16_t type, flags; uint32_t seq, pid; };
struct attr { uint16_t len, type; };
struct header *nlmsg_hdr(void *msg);

static int ours; /* the last request was to IPVS */

/* what keepalived wants to be called for the kinds of answers (enum nl_cb_type) */
#define FINISH 1
#define ACK 4
static struct { int (*call)(void *, void *); void *arg; } callbacks[16];

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

int genl_ctrl_resolve(void *sk, const char *name) {
	if (!strcmp(name, "IPVS"))
		return FAMILY;
	return ((int (*)(void *, const char *))next("genl_ctrl_resolve"))(sk, name);
}

int nl_socket_modify_cb(void *sk, int type, int kind, int (*call)(void *, void *), void *arg) {
	if (type >= 0 && type < 16) {
		callbacks[type].call = call;
		callbacks[type].arg = arg;
	}
	return ((int (*)(void *, int, int, int (*)(void *, void *), void *))next("nl_socket_modify_cb"))(sk, type, kind, call, arg);
}

static struct attr *find(char *from, char *end, int type) {
	while (from + sizeof(struct attr) <= end) {
		struct attr *a = (struct attr *)from;
		if (a->len < sizeof *a)
			break;
		if ((a->type & 0x3fff) == type)
			return a;
		from += (a->len + 3) & ~3;
	}
	return NULL;
}

static void note(struct header *h) {
	static int fd = -1;
	char line[128];
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (fd < 0) {
		const char *path = getenv("STANDIN_LOG");
		if (!path || (fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0)
			return;
	}
	char *body = (char *)h + sizeof *h, *end = (char *)h + h->len;
	struct attr *dest = find(body + 4, end, CMD_ATTR_DEST);
	if (!dest)
		return;
	char *in = (char *)(dest + 1), *out = (char *)dest + dest->len;
	struct attr *addr = find(in, out, DEST_ATTR_ADDR), *port = find(in, out, DEST_ATTR_PORT);
	if (!addr || !port)
		return;
	unsigned char *ip = (unsigned char *)(addr + 1), *p = (unsigned char *)(port + 1);
	int n = snprintf(line, sizeof line, "%lld.%09ld %d %d.%d.%d.%d:%d\n", (long long)now.tv_sec, now.tv_nsec, body[0],
		ip[0], ip[1], ip[2], ip[3], p[0] << 8 | p[1]);
	if (write(fd, line, n) != n)
		abort();
}

int nl_send_auto(void *sk, void *msg) {
	struct header *h = nlmsg_hdr(msg);
	ours = h->type == FAMILY;
	if (!ours)
		return ((int (*)(void *, void *))next("nl_send_auto"))(sk, msg);
	note(h);
	return h->len;
}

int nl_recvmsgs_default(void *sk) {
	if (ours) {
		for (int type = FINISH; type <= ACK; type += ACK - FINISH)
			if (callbacks[type].call)
				callbacks[type].call(NULL, callbacks[type].arg);
		return 0;
	}
	return ((int (*)(void *))next("nl_recvmsgs_default"))(sk);
}
