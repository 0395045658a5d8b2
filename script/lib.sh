# shellcheck shell=bash
#
# lib.sh: what setup, test, demo and bench share.  Source it:
#
#     . "$(dirname "$0")/lib.sh"
#
#   lg_setup_host [FOR...]  install what is missing (FOR: test, versions, assert, bench)
#   lg_setup_user           choose the unprivileged user that runs the servers
#   lg_as_user CMD...       run a command as that user
#   lg_as_root CMD...       run a command as root
#   lg_bindir               where initdb, pg_ctl and pg_config are
#   lg_copy_tree DIR        copy the checkout without what a build leaves
#   lg_build_and_install    build in a private copy and install
#   lg_stop_below DIR       end every process that works below DIR
#
# Functions return non-zero and have already said why; callers decide.

lg_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Kept from run to run: the chroots, the assert server and the tests' clients.
lg_cache=${LG_CACHE:-/var/cache/pg_lifeguard}

# Other people's settings that would reach servers, chroots and builds.
umask 022
unset MAKEFLAGS MAKELEVEL

lg_say() { printf '%s\n' "$*"; }
lg_warn() { printf '%s\n' "$*" >&2; }

# lg_logged LOG CMD...: run quietly; only a failure shows what was written.
lg_logged() {
	local log=$1 before
	shift
	printf '+ %s\n' "$*" >>"$log"
	before=$(wc -l <"$log")
	"$@" >>"$log" 2>&1 </dev/null && return 0
	lg_warn "failed: $*"
	lg_warn "the end of its output (all of it: $log):"
	tail -n "+$((before + 1))" "$log" | tail -n 30 | sed 's/^/    /' >&2
	return 1
}

# ---------------------------------------------------------------------------
# Who runs what
# ---------------------------------------------------------------------------

# The postmaster refuses to run as root.  Called as root, servers run as
# postgres, or as a user made for this where there is none.
lg_setup_user() {
	if [ "$(id -u)" != 0 ]; then
		lg_user=$(id -un)
	elif id postgres >/dev/null 2>&1; then
		lg_user=postgres
	else
		lg_user=pg_lifeguard
		id "$lg_user" >/dev/null 2>&1 ||
			useradd --system --no-create-home --shell /bin/sh "$lg_user" ||
			{ lg_warn "could not create the user $lg_user"; return 1; }
	fi
	lg_group=$(id -gn "$lg_user")
}

# The folder is / because the caller's may be closed to that user, which initdb
# takes badly.  PG* variables are the caller's own business with other servers.
lg_as_user() {
	local drop=() name
	for name in "${!PG@}"; do drop+=(-u "$name"); done
	if [ "$(id -un)" = "$lg_user" ]; then
		(cd / && exec env "${drop[@]}" "$@")
	else
		(cd / && exec setpriv --reuid="$lg_user" --regid="$lg_group" --init-groups \
			env "${drop[@]}" USER="$lg_user" LOGNAME="$lg_user" HOME="${LG_HOME:-/tmp}" "$@")
	fi
}

lg_as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif sudo -n true 2>/dev/null; then
		sudo -n -- "$@"
	else
		lg_warn "needs root (or sudo without a password): $*"
		return 1
	fi
}

# ---------------------------------------------------------------------------
# The machine
# ---------------------------------------------------------------------------

# shellcheck disable=SC1091	# present on every Debian
lg_is_debian_12() {
	[ -r /etc/os-release ] && [ "$(. /etc/os-release && echo "$ID ${VERSION_ID:-}")" = "debian 12" ]
}

# LG_PG_CONFIG chooses another installation than the machine's own.
lg_pg_config() {
	if [ -n "${LG_PG_CONFIG:-}" ]; then
		echo "$LG_PG_CONFIG"
	elif [ -x /usr/lib/postgresql/15/bin/pg_config ]; then
		echo /usr/lib/postgresql/15/bin/pg_config
	else
		command -v pg_config
	fi
}

lg_bindir() { "$(lg_pg_config)" --bindir; }

lg_host_packages() {
	local reason
	echo gcc libc6-dev make libkrb5-dev clang clang-format
	echo postgresql-15 postgresql-server-dev-15
	echo postgresql-15-cron postgresql-15-pg-wait-sampling
	echo perl libipc-run-perl faketime
	for reason in "$@"; do
		case $reason in
			test) echo nodejs ;;
			versions) echo debootstrap debian-archive-keyring ca-certificates ;;
			assert) echo gettext bzip2 xz-utils ca-certificates ;;
			bench) echo libpq-dev valgrind ;;
		esac
	done
}

# Install what is missing for the given purposes; say nothing when all is there.
lg_setup_host() {
	if lg_is_debian_12; then
		lg_setup_debian "$@"
	else
		lg_check_tools "$@"
	fi
}

lg_setup_debian() {
	local package missing=() clients='' log status=0 own=/etc/postgresql-common/createcluster.d
	for package in $(lg_host_packages "$@"); do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
			missing+=("$package")
	done
	case " $* " in
		*" test "*) lg_has_clients || clients=$(lg_client_packages) ;;
	esac
	[ -n "${missing[*]}$clients" ] || return 0

	if [ "$(id -u)" != 0 ]; then
		# shellcheck disable=SC2086	# a list
		lg_warn "missing packages: ${missing[*]}" $clients
		lg_warn "run this first: sudo $lg_root/script/setup$([ $# = 0 ] || printf ' --%s' "$@")"
		return 1
	fi

	log=$(mktemp /tmp/pg_lifeguard_setup.XXXXXX)
	[ ${#missing[@]} = 0 ] || lg_say "installing ${missing[*]}"
	lg_apt_update "$log" || return 1

	# Debian makes and starts a cluster 15/main with the package; nothing here
	# wants one, and somebody's port 5432 is not ours to take.
	(
		# shellcheck disable=SC2064	# the folder is known now
		trap "rm -f $own/zz_pg_lifeguard.conf; rmdir --ignore-fail-on-non-empty $own 2>/dev/null" EXIT
		mkdir -p "$own"
		echo "create_main_cluster = false" >"$own/zz_pg_lifeguard.conf"
		[ ${#missing[@]} = 0 ] || lg_apt_get "$log" install "${missing[@]}"
	) || status=1
	[ $status != 0 ] || [ -z "$clients" ] || lg_make_clients "$log" || status=1
	[ $status != 0 ] || rm -f "$log"
	return $status
}

# What the tests of clients use.  It is unpacked and not installed: PgBouncer's
# package starts a pooler on port 6432, those of Prometheus and its exporter start
# both, and that of node-postgres goes with no other nodejs than Debian's, though the
# module itself does.
lg_client_packages() {
	echo pgbouncer libevent-2.1-7 libc-ares2
	echo node-pg node-async node-inherits node-readable-stream node-safe-buffer node-split2
	echo node-string-decoder node-util-deprecate node-xtend
	echo prometheus prometheus-postgres-exporter
}

lg_has_clients() {
	[ "$(cat "$lg_cache/clients/packages" 2>/dev/null)" = "$(lg_client_packages)" ]
}

# lg_make_clients LOG: unpack them, under another name until all are there.
lg_make_clients() {
	local log=$1 work package
	lg_say "unpacking pgbouncer, node-pg and prometheus into $lg_cache/clients"
	mkdir -p "$lg_cache" && work=$(mktemp -d "$lg_cache/clients.XXXXXX") || return 1
	# shellcheck disable=SC2046	# a list of packages
	(
		chmod 755 "$work" && mkdir "$work/deb" && cd "$work/deb" &&
			lg_apt_get "$log" -o APT::Sandbox::User=root download $(lg_client_packages) || exit 1
		for package in *.deb; do
			lg_logged "$log" dpkg -x "$package" "$work/all" || exit 1
		done
		lg_client_packages >"$work/all/packages"
	) && rm -rf "$lg_cache/clients" && mv "$work/all" "$lg_cache/clients"
	lg_has_clients && rm -rf "$work" && return 0
	rm -rf "$work"
	return 1
}

lg_apt_get() {
	local log=$1
	shift
	DEBIAN_FRONTEND=noninteractive lg_logged "$log" apt-get -q -y --no-install-recommends \
		-o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold "$@"
}

# Mirrors have bad moments.
lg_apt_update() {
	local log=$1 try
	for try in 1 2 3; do
		[ "$try" = 1 ] || sleep $((try * 5))
		# without this option a mirror that did not answer counts as success
		lg_apt_get "$log" -o APT::Update::Error-Mode=any update && return 0
	done
	return 1
}

# Another system: everything may be there already; if not, name it all at once.
lg_check_tools() {
	local need=() tool reason
	for tool in gcc make perl; do
		command -v "$tool" >/dev/null || need+=("$tool")
	done
	if ! lg_pg_config >/dev/null; then
		need+=("PostgreSQL 15 or later with its development files (pg_config)")
	elif [ ! -e "$("$(lg_pg_config)" --pgxs)" ]; then
		need+=("PostgreSQL's server development files (pgxs)")
	fi
	[ -e /usr/include/krb5.h ] || [ -e /usr/local/include/krb5.h ] || need+=("krb5.h (libkrb5-dev)")
	for reason in "$@"; do
		case $reason in
			test)
				for tool in prove clang faketime; do
					command -v "$tool" >/dev/null || need+=("$tool")
				done
				perl -MIPC::Run -e 1 2>/dev/null || need+=("the Perl module IPC::Run")
				;;
			versions) command -v debootstrap >/dev/null || need+=("debootstrap") ;;
			bench) command -v valgrind >/dev/null || need+=("valgrind") ;;
			assert) need+=("Debian 12, for its source package of PostgreSQL 15") ;;
		esac
	done
	[ ${#need[@]} -gt 0 ] || return 0
	lg_warn "script/setup installs packages on Debian 12 only; this machine still needs:"
	printf '    %s\n' "${need[@]}" >&2
	return 1
}

# ---------------------------------------------------------------------------
# Building
# ---------------------------------------------------------------------------

# What git would not have, apart from new files: a copy tests what you see.
lg_copy_tree() {
	mkdir -p "$1" &&
		tar -C "$lg_root" -cf - --exclude=./.git --exclude='*.o' --exclude='*.so' --exclude='*.bc' \
			--exclude='./tmp_check*' --exclude=./results --exclude=./output_iso --exclude=./log \
			--exclude='./regression.*' . |
		tar -C "$1" --no-same-owner -xf -
}

# Build with the machine's PostgreSQL in a private copy, as the unprivileged
# user, and install as root.  The checkout stays as it is.  Bitcode, which only
# inlining by the JIT would use, is left out: not every machine can make it.
lg_build_and_install() {
	local work config status=0
	work=$(mktemp -d "${LG_TMP:-/tmp}/pg_lifeguard_build.XXXXXX")
	config=$(lg_pg_config)
	lg_copy_tree "$work/src" && {
		[ "$(id -u)" != 0 ] || chown -R "$lg_user:$lg_group" "$work"
	} &&
		lg_logged "$work/log" lg_as_user make -s -C "$work/src" PG_CONFIG="$config" with_llvm=no clean &&
		lg_logged "$work/log" lg_as_user make -s -C "$work/src" PG_CONFIG="$config" with_llvm=no &&
		lg_install "$work/log" "$work/src" "$config" || status=1
	[ $status != 0 ] || rm -rf "$work"
	return $status
}

# An installation of one's own needs no root.
lg_install() {
	local log=$1 dir=$2 config=$3 via=
	[ -w "$("$config" --pkglibdir)" ] || via=lg_as_root
	lg_logged "$log" $via make -s -C "$dir" PG_CONFIG="$config" with_llvm=no install
}

# ---------------------------------------------------------------------------
# Cleaning up
# ---------------------------------------------------------------------------

# pids whose current folder is below DIR: servers sit in their data folder,
# test programs in the build folder, and nobody else there.
lg_pids_below() {
	local link dir
	for link in /proc/[0-9]*/cwd; do
		dir=$(readlink "$link" 2>/dev/null) || continue
		case "${dir% (deleted)}/" in
			"$1"/*)
				link=${link#/proc/}
				echo "${link%/cwd}"
				;;
		esac
	done
}

# Immediate shutdown first, so that shared memory goes too; then no mercy.
lg_stop_below() {
	local pids i
	pids=$(lg_pids_below "$1")
	[ -n "$pids" ] || return 0
	# shellcheck disable=SC2086	# a list
	kill -QUIT $pids 2>/dev/null || true
	for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do
		sleep 0.5
		pids=$(lg_pids_below "$1")
		[ -n "$pids" ] || return 0
		# a stopped process hears nothing but this
		# shellcheck disable=SC2086
		[ "$i" -lt 12 ] || kill -KILL $pids 2>/dev/null || true
	done
}
