# shellcheck shell=bash
#
# servers.sh: make the servers that the machine does not have: PostgreSQL 17,
# 18 and 19 in Debian chroots, and a 15 built with assertions.  lib.sh first.
#
# Each is built under a temporary name and renamed when complete, so that an
# interrupted run leaves nothing that looks finished; each is kept for the next
# run, which adds what a chroot made earlier lacks.  Delete a folder below
# $lg_cache to have it made again.

# shellcheck disable=SC2154	# lg_cache is lib.sh's
: "$lg_cache"

# The address of Debian's main archive, as the machine's apt uses it; LG_MIRROR
# names another.  Fails when neither names one.
lg_mirror() {
	local codename uri
	[ -z "${LG_MIRROR:-}" ] || { echo "$LG_MIRROR" && return; }
	# shellcheck disable=SC1091
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	# shellcheck disable=SC2016	# apt's own variables
	uri=$(apt-get indextargets --format '$(RELEASE)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		sed -n "s/^\(${codename:-stable}\|stable\|oldstable\)|//p" | head -n 1)
	case $uri in
		# cloud images keep the address in a file of its own
		mirror+file:*) uri=$(sed -n 's/^\(http[^[:space:]]*\).*/\1/p' "${uri#mirror+file:}" 2>/dev/null | head -n 1) ;;
	esac
	case $uri in
		http://* | https://*) echo "${uri%/}" ;;
		*)
			lg_warn "could not find the address of Debian's archive in apt's configuration; set LG_MIRROR"
			return 1
			;;
	esac
}

# ---------------------------------------------------------------------------
# Chroots
# ---------------------------------------------------------------------------

lg_chroot_suite() {
	case $1 in
		17) echo trixie ;;
		18) echo forky ;;
		19) echo sid ;;
	esac
}

# Kept in the chroot; a change here makes the next run install the difference.
lg_chroot_packages() {
	local from=
	# named one by one: "-t experimental" would take a perl that conflicts
	[ "$1" != 19 ] || from=/experimental
	echo "postgresql-$1$from postgresql-client-$1$from postgresql-server-dev-$1$from libpq-dev$from libpq5$from"
	echo gcc libc6-dev make libkrb5-dev perl libipc-run-perl faketime ca-certificates
}

# What tests use beside the server; a leg does without what cannot be had.  Nothing
# starts in a chroot and nobody else uses its nodejs, so these are installed and
# not unpacked as the machine's are.
lg_chroot_clients() {
	echo pgbouncer node-pg
	# there are none for 19 yet
	[ "$1" = 19 ] || echo "postgresql-$1-cron postgresql-$1-pg-wait-sampling"
}

# lg_make_chroot VERSION LOG: make sure that chroot-VERSION is complete.  When it
# cannot be, LOG.why says why in one line.
lg_make_chroot() {
	local version=$1 log=$2 dir=$lg_cache/chroot-$1 try
	local stamp=$lg_cache/chroot-$1/etc/pg_lifeguard.packages
	if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$(lg_chroot_packages "$version")" ]; then
		return 0
	fi
	for try in 1 2 3; do
		[ "$try" = 1 ] || sleep 10
		lg_say "making the chroot of PostgreSQL $version (Debian $(lg_chroot_suite "$version")), try $try"
		if [ -e "$stamp" ]; then
			lg_chroot_server "$version" "$dir" "$log" && return 0
		elif lg_chroot_bootstrap "$version" "$dir.tmp" "$log" &&
			lg_chroot_server "$version" "$dir.tmp" "$log"; then
			mv "$dir.tmp" "$dir" && return 0
		fi
	done
	echo "after 3 tries: $(lg_apt_error "$log")" >"$log.why"
	lg_remove_chroot "$dir.tmp"
	return 1
}

# lg_add_clients VERSION LOG: add the clients that chroot-VERSION lacks.  When one
# cannot be had, LOG.why says why in one line.
lg_add_clients() {
	local version=$1 log=$2 dir=$lg_cache/chroot-$1 package why=
	lg_lend_clients "$dir"
	for package in $(lg_chroot_clients "$version"); do
		# shellcheck disable=SC2016	# dpkg-query's own variable
		[ "$(chroot "$dir" dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ] ||
			continue
		lg_say "adding $package to the chroot of PostgreSQL $version"
		lg_chroot_install "$dir" "$log" "$package" ||
			why+="${why:+; }$package: $(lg_apt_error "$log")"
	done
	[ -n "$why" ] || return 0
	echo "$why" >"$log.why"
	return 1
}

# The machine's exporter and promtool, where it has them unpacked: what they make of
# our queries and rules is then the same on all servers.  Links cost neither time nor
# room, and nobody writes to these files.
lg_lend_clients() {
	local name from
	for name in prometheus-postgres-exporter promtool; do
		from=$lg_cache/clients/usr/bin/$name
		[ -e "$from" ] || continue
		ln -f "$from" "$1/usr/local/bin/" 2>/dev/null ||
			cp --remove-destination "$from" "$1/usr/local/bin/" || true
	done
}

lg_apt_error() {
	local why
	why=$(grep -E '^E: ' "$1" | tail -n 1)
	echo "${why:-see $1}"
}

# debootstrap mounts proc while it works; if it was killed, that is still there.
lg_remove_chroot() {
	[ -e "$1" ] || return 0
	umount "$1/proc" "$1/sys" 2>/dev/null || true
	rm -rf --one-file-system "$1"
}

lg_chroot_bootstrap() {
	local version=$1 dir=$2 log=$3 mirror suite proxy
	mirror=$(lg_mirror) || return 1
	suite=$(lg_chroot_suite "$version")
	proxy=$(apt-config dump --format '%v' Acquire::http::Proxy 2>/dev/null || true)
	lg_remove_chroot "$dir"
	mkdir -p "$lg_cache"
	# Debian 12 knows no script for forky; sid's fits all three
	(
		[ -z "$proxy" ] || export http_proxy="$proxy" https_proxy="$proxy"
		lg_logged "$log" debootstrap --variant=minbase --include=ca-certificates \
			"$suite" "$dir" "$mirror" sid
	) || return 1

	[ "$version" != 19 ] ||
		echo "deb $mirror experimental main" >"$dir/etc/apt/sources.list.d/experimental.list"
	# the machine's way to the mirror, and no index older than forky's is refused
	{
		apt-config dump | grep -E '^Acquire::[a-z]+::(Proxy|Timeout|CaInfo)' || true
		echo 'Acquire::Check-Valid-Until "false";'
		echo 'Acquire::Languages "none";'
		echo 'APT::Sandbox::User "root";'
	} >"$dir/etc/apt/apt.conf.d/90pg_lifeguard"
	# a throwaway system: no documentation, no careful syncing
	printf '%s\n' force-unsafe-io 'path-exclude=/usr/share/doc/*' 'path-exclude=/usr/share/man/*' \
		>"$dir/etc/dpkg/dpkg.cfg.d/pg_lifeguard"

	# Nothing may start, and no cluster may be made, in there.
	printf '#!/bin/sh\nexit 101\n' >"$dir/usr/sbin/policy-rc.d"
	chmod 755 "$dir/usr/sbin/policy-rc.d"
	mkdir -p "$dir/etc/postgresql-common/createcluster.d"
	echo "create_main_cluster = false" >"$dir/etc/postgresql-common/createcluster.d/pg_lifeguard.conf"

	# It refuses to work without /proc, and postgresql-common's installation with it.
	lg_logged "$log" chroot "$dir" dpkg-divert --local --rename --add /usr/bin/systemd-tmpfiles &&
		ln -sf true "$dir/usr/bin/systemd-tmpfiles" || return 1
	# initdb tries shared memory here
	chmod 1777 "$dir/dev/shm"
}

lg_chroot_server() {
	local version=$1 dir=$2 log=$3
	# shellcheck disable=SC2046	# a list of packages
	lg_chroot_install "$dir" "$log" $(lg_chroot_packages "$version") &&
		lg_chroot_packages "$version" >"$dir/etc/pg_lifeguard.packages"
}

# What an interrupted run left half installed comes first, or apt refuses.  What
# dpkg cannot complete for lack of another package, apt can once it may fetch.
lg_chroot_install() {
	local dir=$1 log=$2
	shift 2
	lg_chroot_refresh "$dir"
	lg_chroot_run "$log" "$dir" dpkg --configure -a || true
	lg_chroot_apt "$log" "$dir" update &&
		lg_chroot_apt "$log" "$dir" --fix-broken install &&
		lg_chroot_apt "$log" "$dir" install "$@" &&
		lg_chroot_apt "$log" "$dir" clean
}

lg_chroot_apt() {
	local log=$1 dir=$2
	shift 2
	lg_chroot_run "$log" "$dir" \
		apt-get -q -y --no-install-recommends -o Dpkg::Options::=--force-confold "$@"
}

lg_chroot_run() {
	local log=$1 dir=$2
	shift 2
	lg_logged "$log" chroot "$dir" env DEBIAN_FRONTEND=noninteractive LC_ALL=C \
		PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

# The machine's network may have changed since the chroot was made.
lg_chroot_refresh() {
	cp -L /etc/resolv.conf /etc/hosts "$1/etc/" 2>/dev/null || true
	chmod 1777 "$1/dev/shm" "$1/tmp"
}

# ---------------------------------------------------------------------------
# PostgreSQL 15 with assertions
# ---------------------------------------------------------------------------

lg_assert_options=(
	--enable-cassert --enable-debug --enable-tap-tests --enable-nls
	--without-icu --without-zlib --without-readline
)

# lg_make_assert LOG: make sure that assert-15 is complete.
lg_make_assert() {
	local log=$1 dir=$lg_cache/assert-15 work try
	if [ -e "$dir/configured" ] && [ "$(cat "$dir/configured")" = "${lg_assert_options[*]}" ]; then
		return 0
	fi
	for try in 1 2 3; do
		[ "$try" = 1 ] || sleep 10
		lg_say "building PostgreSQL 15 with assertions from Debian's source package, try $try"
		rm -rf "$dir"
		mkdir -p "$lg_cache"
		work=$(mktemp -d /tmp/pg_lifeguard_assert.XXXXXX)
		if lg_assert_source "$work" "$log" && lg_assert_build "$work"/postgresql-15* "$dir" "$log"; then
			rm -rf "$work"
			# last, so that it also says: complete
			echo "${lg_assert_options[*]}" >"$dir/configured"
			return 0
		fi
		rm -rf "$work"
	done
	return 1
}

# The machine's own source list is left alone: a private one, with private indexes.
lg_assert_source() {
	local work=$1 log=$2 apt mirror
	mirror=$(lg_mirror) || return 1
	mkdir -p "$work/lists/partial"
	echo "deb-src $mirror bookworm main" >"$work/sources.list"
	apt=(apt-get -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
		-o Dir::State::lists="$work/lists" -o APT::Sandbox::User=root -o APT::Get::List-Cleanup=0
		-o APT::Update::Error-Mode=any)
	# unpacked by tar, not by dpkg-source: Debian's patches only move paths
	(
		cd "$work" &&
			lg_logged "$log" "${apt[@]}" update &&
			lg_logged "$log" "${apt[@]}" --download-only source postgresql-15 &&
			lg_logged "$log" tar -xf postgresql-15_*.orig.tar.* &&
			rm -f postgresql-15_*
	)
}

lg_assert_build() {
	local source=$1 dir=$2 log=$3 jobs module
	jobs=$(nproc)
	(
		cd "$source" || exit 1
		lg_logged "$log" ./configure -q --prefix="$dir" "${lg_assert_options[@]}" CFLAGS="-O1 -g" &&
			lg_logged "$log" make -s -j"$jobs" &&
			lg_logged "$log" make -s install || exit 1
		for module in pg_stat_statements auto_explain; do
			lg_logged "$log" make -s -C "contrib/$module" install || exit 1
		done
	)
}
