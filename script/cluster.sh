# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# cluster.sh: a throwaway cluster in a folder of its own, for the demo and the
# benchmark.  lib.sh first.
#
#   cluster_create DIR SETTING...  initdb; SETTING: lines for postgresql.conf
#   cluster_start         start it (again), and wait until it answers
#   cluster_stop          stop it; harmless when it does not run
#   sql ARGS...           psql as superuser, in $cluster_database
#   in_group CMD...       a process group of its own in the background; sets $group
#   run_job CMD...        run it in the foreground, but hear signals at once
#   end_groups            end everything that in_group and run_job started
#   remove_folder DIR     end whatever still works in there, and remove it
#
# It listens on a socket in that folder and nowhere else, so it is in nobody's
# way whatever else runs on the machine.

cluster=			# the folder
cluster_database=postgres
postmaster=			# its pid while it runs
group=				# what in_group started last ...
groups=()			# ... and all of them
job=				# what run_job runs

cluster_create() {
	cluster=$1
	shift
	local bin
	bin=$(lg_bindir)
	mkdir -p "$cluster/log"
	chmod 700 "$cluster"
	[ "$(id -u)" != 0 ] || chown -R "$lg_user:$lg_group" "$cluster"
	lg_logged "$cluster/log/initdb" lg_as_user "$bin/initdb" -D "$cluster/data" -U postgres \
		-A trust -E UTF8 --locale=C --no-sync || return 1
	{
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$cluster'"
		# nothing here must survive a power cut
		echo "fsync = off"
		echo "full_page_writes = off"
		printf '%s\n' "$@"
	} >>"$cluster/data/postgresql.conf"
}

cluster_start() {
	local bin
	bin=$(lg_bindir)
	if ! lg_as_user "$bin/pg_ctl" -D "$cluster/data" -l "$cluster/log/server" -w -t 60 start \
		>"$cluster/log/pg_ctl" 2>&1 </dev/null; then
		lg_warn "the server did not start; its log ends:"
		tail -n 20 "$cluster/log/server" >&2
		return 1
	fi
	postmaster=$(head -n 1 "$cluster/data/postmaster.pid")
}

cluster_stop() {
	[ -n "$cluster" ] && [ -e "$cluster/data/postmaster.pid" ] || return 0
	lg_as_user "$(lg_bindir)/pg_ctl" -D "$cluster/data" -m immediate -w -t 30 stop \
		>/dev/null 2>&1 </dev/null || true
	lg_stop_below "$cluster"
	postmaster=
}

sql() {
	lg_as_user "$(lg_bindir)/psql" -X -q -v ON_ERROR_STOP=1 \
		-h "$cluster" -U postgres -d "$cluster_database" "$@"
}

# Callers of in_group redirect all three streams: whatever outlived us would keep a reader
# of ours waiting.
in_group() {
	set -m
	"$@" &
	group=$!
	set +m
	groups+=("$group")
	# its end is not worth a message
	disown "$group"
}

run_job() {
	local status=0
	set -m
	"$@" </dev/null &
	job=$!
	set +m
	wait "$job" || status=$?
	job=
	return $status
}

end_groups() {
	local member
	for member in $job "${groups[@]}"; do
		kill -TERM -- "-$member" 2>/dev/null || true
	done
	groups=()
}

# What was just ended may write a last file while rm is already in there.
remove_folder() {
	local try
	lg_stop_below "$1"
	for try in 1 2 3 4 5; do
		rm -rf "$1" 2>/dev/null && return 0
		sleep 0.3
	done
	lg_warn "could not remove $1"
}
