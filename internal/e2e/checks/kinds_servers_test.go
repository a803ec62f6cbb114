package checks_test

import (
	"fmt"
)

// kindServer is a server of Debian's, alone on a host with an empty /run and /var/lib.
type kindServer struct {
	name string
	// files are written first; KEY and CERTIFICATE stand for the files with those.
	files map[string]string
	// prepare is run by a shell, then command.
	prepare string
	command string
	checks  []serverCheck
}

// serverCheck is a check of a server.
type serverCheck struct {
	port int
	// toml is the check but for its type, which stands first in it, and its pace.
	toml string
	// deaf checks ask the kernel only, which answers for a program that hangs or
	// lies, and those with gone even for one that is gone.
	deaf, gone bool
}

const (
	keyFile         = "/run/lab/key.pem"
	certificateFile = "/run/lab/cert.pem"
)

// servers are those of the kinds of check. The test's host serves "ok" on port 8000.
func servers() []kindServer {
	secured := fmt.Sprintf(", ca = %q", certificateFile)
	return []kindServer{
		{
			name: "nginx",
			files: map[string]string{
				"/run/lab/password": "u:{PLAIN}p\n",
				"/run/lab/www/a":    "ok\n",
				"/run/lab/nginx.conf": `daemon off; pid /run/lab/nginx.pid; error_log stderr; worker_processes 1;
events {}
http {
  access_log off; root /run/lab/www; ssl_certificate ` + certificateFile + `; ssl_certificate_key ` + keyFile + `;
  client_body_temp_path /run/lab/b; proxy_temp_path /run/lab/p; fastcgi_temp_path /run/lab/f; uwsgi_temp_path /run/lab/u; scgi_temp_path /run/lab/s;
  server {
    listen 80; listen [::]:80;
    location /old { return 302 /a; }
    location /private { auth_basic x; auth_basic_user_file /run/lab/password; alias /run/lab/www/; }
  }
  server { listen 443 ssl http2; listen [::]:443 ssl http2; }
  server { listen 444 ssl; ssl_client_certificate ` + certificateFile + `; ssl_verify_client on; }
}
`,
			},
			command: "exec nginx -c /run/lab/nginx.conf -e stderr",
			checks: []serverCheck{
				{port: 80, toml: `"http", path = "/a", body = "ok"`},
				{port: 80, toml: `"http", path = "/a"`},
				{port: 80, toml: `"http", path = "/old", redirects = 1`},
				{port: 80, toml: `"http", path = "/private/a", user = "u", password = "p", plaintext = true`},
				{port: 443, toml: `"https", path = "/a"` + secured},
				{port: 443, toml: `"https", path = "/a", version = "2"` + secured},
				{port: 444, toml: fmt.Sprintf(`"https", path = "/a", client_cert = %q, client_key = %q`, certificateFile, keyFile) + secured},
				{port: 80, toml: `"tcp"`, deaf: true},
				{port: 80, toml: `"exec", command = ["/bin/bash", "-c", "exec 3<>/dev/tcp/$LVSHA_SERVER/$LVSHA_PORT"]`, deaf: true},
				{toml: `"ping"`, deaf: true, gone: true},
			},
		},
		{
			name: "postfix",
			files: map[string]string{
				"/var/lib/pf/main.cf": `compatibility_level = 3.6
maillog_file_prefixes = /var
maillog_file = /var/lib/log
queue_directory = /var/lib/spool
data_directory = /var/lib/postfix
myhostname = mx.lab.test
mydestination =
local_recipient_maps =
alias_maps =
inet_interfaces = all
inet_protocols = all
smtpd_peername_lookup = no
smtpd_tls_cert_file = ` + certificateFile + `
smtpd_tls_key_file = ` + keyFile + `
smtpd_tls_security_level = may
`,
				"/var/lib/pf/master.cf": `smtp inet n - n - - smtpd
465 inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
cleanup unix n - n - 0 cleanup
rewrite unix - - n - - trivial-rewrite
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
`,
			},
			prepare: "mkdir -p /var/lib/postfix /var/lib/spool && chown postfix /var/lib/postfix && postfix -c /var/lib/pf check",
			command: "exec /usr/lib/postfix/sbin/master -c /var/lib/pf -d",
			checks: []serverCheck{
				{port: 25, toml: `"smtp"`},
				{port: 25, toml: `"smtp", tls = "starttls", helo = "lvs1.lab.test"` + secured},
				{port: 465, toml: `"smtp", tls = "on"` + secured},
			},
		},
		{
			name: "dovecot",
			files: map[string]string{"/run/lab/dovecot.conf": `base_dir = /run/dovecot
state_dir = /var/lib/dovecot
log_path = /dev/stderr
protocols = imap pop3
listen = *, ::
ssl = yes
ssl_cert = <` + certificateFile + `
ssl_key = <` + keyFile + `
disable_plaintext_auth = no
mail_location = maildir:/var/lib/mail/%u
mail_max_userip_connections = 0
passdb {
  driver = static
  args = password=p
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=/var/lib/mail/%u
}
first_valid_uid = 1
first_valid_gid = 1
`},
			prepare: "mkdir -p /run/dovecot /var/lib/dovecot /var/lib/mail && chown nobody:nogroup /var/lib/mail",
			command: "exec dovecot -F -c /run/lab/dovecot.conf",
			checks: []serverCheck{
				{port: 143, toml: `"imap", user = "u", password = "p", plaintext = true`},
				{port: 143, toml: `"imap", tls = "starttls", user = "u", password = "p"` + secured},
				{port: 993, toml: `"imaps", user = "u", password = "p"` + secured},
				{port: 110, toml: `"pop3", user = "u", password = "p", plaintext = true`},
				{port: 110, toml: `"pop3", tls = "starttls", user = "u", password = "p"` + secured},
				{port: 995, toml: `"pop3s", user = "u", password = "p"` + secured},
			},
		},
		{
			name: "slapd",
			files: map[string]string{
				"/run/lab/slapd.conf": `include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile ` + certificateFile + `
TLSCertificateKeyFile ` + keyFile + `
database mdb
suffix dc=lab
rootdn cn=admin,dc=lab
rootpw p
directory /var/lib/ldap
maxsize 10485760
`,
				"/run/lab/entry": "dn: dc=lab\nobjectClass: dcObject\nobjectClass: organization\no: laboratory\ndc: lab\n",
			},
			prepare: "mkdir -p /var/lib/ldap && slapadd -f /run/lab/slapd.conf -l /run/lab/entry",
			command: "exec slapd -d 0 -f /run/lab/slapd.conf -h 'ldap:/// ldaps:///'",
			checks: []serverCheck{
				{port: 389, toml: `"ldap"`},
				{port: 389, toml: `"ldap", tls = "starttls", user = "cn=admin,dc=lab", password = "p", dn = "dc=lab", attribute = "o", value = "laboratory"` + secured},
				{port: 636, toml: `"ldaps", dn = "dc=lab"` + secured},
			},
		},
		{
			name: "vsftpd",
			files: map[string]string{
				"/var/lib/ftp/pub/health": "ok\n",
				"/run/lab/vsftpd.conf": `background=NO
listen=YES
anonymous_enable=YES
anon_root=/var/lib/ftp
secure_chroot_dir=/var/lib/empty
ssl_enable=YES
allow_anon_ssl=YES
rsa_cert_file=` + certificateFile + `
rsa_private_key_file=` + keyFile + `
seccomp_sandbox=NO
`,
			},
			prepare: "mkdir -p /var/lib/empty",
			command: "exec vsftpd /run/lab/vsftpd.conf",
			checks: []serverCheck{
				{port: 21, toml: `"ftp"`},
				{port: 21, toml: `"ftp", path = "/pub/health", body = "ok"`},
				{port: 21, toml: `"ftp", tls = "starttls", path = "/pub/health", body = "ok"` + secured},
			},
		},
		{
			name: "inn2",
			files: map[string]string{
				"/var/lib/inn/inn.conf": `domain: lab.test
pathhost: news.lab.test
pathnews: /usr/lib/news
pathdb: /var/lib/news
pathspool: /var/lib/newsspool
pathlog: /var/lib/newslog
pathrun: /run/news
pathetc: /var/lib/inn
mta: "/bin/true"
ovmethod: tradindexed
hismethod: hisv6
enableoverview: true
nnrpdloadlimit: 0
tlscertfile: ` + certificateFile + `
tlskeyfile: ` + keyFile + `
`,
				"/var/lib/inn/readers.conf": "auth \"all\" {\n hosts: \"*\"\n default: \"<all>\"\n}\naccess \"all\" {\n users: \"*\"\n newsgroups: \"*\"\n access: RP\n}\n",
			},
			prepare: `mkdir -p /var/lib/news /run/news /var/lib/newsspool/{articles,overview,incoming/tmp,archive,outgoing} /var/lib/newslog
cp /usr/lib/news/examples/active /usr/lib/news/examples/newsgroups /var/lib/news/
cp /etc/news/storage.conf /var/lib/inn/
chown -R news:news /var/lib/news /run/news /var/lib/inn /var/lib/newsspool /var/lib/newslog
export INNCONF=/var/lib/inn/inn.conf
setpriv --reuid=news --regid=news --clear-groups /usr/lib/news/bin/makehistory -O`,
			command: "INNCONF=/var/lib/inn/inn.conf exec /usr/lib/news/bin/nnrpd -D -f -p 119",
			checks: []serverCheck{
				{port: 119, toml: `"nntp"`},
				{port: 119, toml: `"nntp", group = "control"`},
			},
		},
		{
			name:  "mariadb",
			files: map[string]string{"/run/lab/init.sql": "CREATE USER 'u'@'%' IDENTIFIED BY 'p';\n"},
			prepare: `mkdir -p /var/lib/mysql && chown mysql /var/lib/mysql
mariadb-install-db --no-defaults --user=mysql --datadir=/var/lib/mysql --auth-root-authentication-method=normal --skip-test-db`,
			command: "exec mariadbd --no-defaults --user=mysql --datadir=/var/lib/mysql --socket=/var/lib/mysql/sock --pid-file=/var/lib/mysql/pid --init-file=/run/lab/init.sql --ssl-cert=" + certificateFile + " --ssl-key=" + keyFile + " --bind-address=* --skip-name-resolve --innodb-buffer-pool-size=8M",
			checks: []serverCheck{
				{port: 3306, toml: `"mysql", user = "u", password = "p"`},
				{port: 3306, toml: `"mysql", user = "u", password = "p", query = "SELECT 1", value = "1", tls = "on"` + secured},
			},
		},
		{
			name:  "postgresql",
			files: map[string]string{"/run/lab/password": "p"},
			prepare: `mkdir -p /var/lib/pg /run/postgresql && chown postgres /var/lib/pg /run/postgresql
install -o postgres -m 600 ` + keyFile + ` /run/postgresql/key.pem
setpriv --reuid=postgres --regid=postgres --clear-groups /usr/lib/postgresql/*/bin/initdb -D /var/lib/pg -A scram-sha-256 --pwfile=/run/lab/password -U u --no-sync
echo 'host all all all scram-sha-256' >> /var/lib/pg/pg_hba.conf`,
			command: "exec setpriv --reuid=postgres --regid=postgres --clear-groups /usr/lib/postgresql/*/bin/postgres -D /var/lib/pg -c listen_addresses='*' -c ssl=on -c ssl_cert_file=" + certificateFile + " -c ssl_key_file=/run/postgresql/key.pem -c fsync=off",
			checks: []serverCheck{
				{port: 5432, toml: `"postgres", user = "u", password = "p", database = "postgres"`},
				{port: 5432, toml: `"postgres", user = "u", password = "p", database = "postgres", query = "SELECT NOT pg_is_in_recovery()", value = "t", tls = "on"` + secured},
			},
		},
		{
			name:    "redis",
			command: "exec redis-server --port 6379 --bind '*' '-::*' --protected-mode no --tls-port 6380 --tls-cert-file " + certificateFile + " --tls-key-file " + keyFile + " --tls-ca-cert-file " + certificateFile + " --tls-auth-clients no --requirepass p --save '' --dir /var/lib",
			checks: []serverCheck{
				{port: 6379, toml: `"redis", password = "p", role = "master", plaintext = true`},
				{port: 6380, toml: `"redis", tls = "on", user = "default", password = "p"` + secured},
			},
		},
		{
			name: "freeradius",
			files: map[string]string{
				"/run/lab/users": "u Cleartext-Password := \"p\"\n",
				"/run/lab/radiusd.conf": `prefix = /usr
exec_prefix = /usr
sysconfdir = /etc
localstatedir = /var
logdir = /run/lab
raddbdir = /run/lab
radacctdir = /run/lab
name = freeradius
confdir = /run/lab
run_dir = /run/lab
db_dir = /run/lab
libdir = /usr/lib/freeradius
max_requests = 1024
hostname_lookups = no
log {
  destination = stdout
}
security {
  status_server = yes
  reject_delay = 0
}
client all {
  ipaddr = 0.0.0.0/0
  secret = testing123
}
thread pool {
  start_servers = 1
  max_servers = 4
  min_spare_servers = 1
  max_spare_servers = 2
}
modules {
  always ok {
    rcode = ok
  }
  pap {
  }
  files {
    filename = /run/lab/users
  }
}
server default {
  listen {
    type = auth
    ipaddr = *
    port = 0
  }
  authorize {
    Autz-Type Status-Server {
      ok
    }
    files
    pap
  }
  authenticate {
    Auth-Type PAP {
      pap
    }
  }
}
`,
			},
			command: "exec freeradius -f -l stdout -d /run/lab",
			checks: []serverCheck{
				{port: 1812, toml: `"radius", secret = "testing123", user = "u", password = "p"`},
				{port: 1812, toml: `"radius", secret = "testing123"`},
			},
		},
		{
			name: "bind9",
			files: map[string]string{
				"/var/lib/named/zone": "$TTL 60\n@ SOA ns hostmaster 1 60 60 60 60\n@ NS ns\nns A 10.0.0.1\nwww A 192.0.2.10\n",
				"/run/lab/named.conf": `options { directory "/var/lib/named"; pid-file "/run/lab/named.pid"; session-keyfile "/run/lab/session"; recursion no; listen-on { any; }; listen-on-v6 { any; }; };
controls {};
zone "lab.test" { type primary; file "/var/lib/named/zone"; };
`,
			},
			command: "exec named -g -n 1 -c /run/lab/named.conf",
			checks: []serverCheck{
				{port: 53, toml: `"dns", name = "www.lab.test", record = "A", answer = "192.0.2.10"`},
				{port: 53, toml: `"dns", name = "lab.test", transport = "tcp", recursion = false`},
				{port: 53, toml: `"dns", name = "other.lab.test", rcode = "NXDOMAIN"`},
			},
		},
		{
			name: "squid",
			files: map[string]string{"/run/lab/squid.conf": `http_port 3128
pid_filename /run/lab/squid.pid
access_log none
cache_log /dev/stderr
cache deny all
http_access allow all
visible_hostname lab
shutdown_lifetime 0 seconds
pinger_enable off
`},
			command: "exec squid -N -f /run/lab/squid.conf",
			checks: []serverCheck{
				{port: 3128, toml: `"http_proxy", host = "10.0.0.2:8000", body = "ok"`},
				{port: 3128, toml: `"http_proxy", host = "10.0.0.2:8000", path = "/not", status = 404`},
			},
		},
		{
			name: "kamailio",
			files: map[string]string{"/run/lab/kamailio.cfg": `#!KAMAILIO
children=1
tcp_children=1
log_stderror=yes
debug=0
auto_aliases=no
listen=udp:0.0.0.0:5060
listen=tcp:0.0.0.0:5060
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/:/usr/lib/aarch64-linux-gnu/kamailio/modules/"
loadmodule "sl.so"
request_route { sl_send_reply("200", "OK"); }
`},
			command: "mkdir -p /run/kamailio; exec kamailio -DD -E -f /run/lab/kamailio.cfg -Y /run/kamailio",
			checks: []serverCheck{
				{port: 5060, toml: `"sip"`},
				{port: 5060, toml: `"sip", transport = "tcp"`},
			},
		},
	}
}
