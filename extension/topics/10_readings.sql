-- What the live views read.  Each function takes its own reading of shared
-- memory when it is called, hides from a role what pg_stat_activity hides from
-- it, and needs no preloading.

CREATE FUNCTION lifeguard.read_sessions(
	OUT datid oid, OUT pid integer, OUT usesysid oid, OUT application_name text,
	OUT backend_xid xid, OUT backend_xmin xid,
	OUT client_addr inet, OUT client_hostname text, OUT client_port integer,
	OUT backend_start timestamptz, OUT xact_start timestamptz, OUT query_start timestamptz,
	OUT state_change timestamptz, OUT wait_event_type text, OUT wait_event text,
	OUT state text, OUT query_id bigint, OUT query text, OUT query_tags text,
	OUT backend_type text, OUT state_age interval, OUT xact_age interval,
	OUT horizon_age integer, OUT holds_horizon boolean, OUT locks_held integer,
	OUT blocked_by integer[], OUT blocking integer, OUT statements text[])
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_sessions' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.read_sessions() IS
'Reads all client sessions in place; what the views sessions and idle_transactions show.';

CREATE FUNCTION lifeguard.read_transaction_statements(
	OUT pid integer, OUT datid oid, OUT usesysid oid, OUT xact_start timestamptz,
	OUT number bigint, OUT query_start timestamptz, OUT query_id bigint, OUT query text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_transaction_statements'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.read_transaction_statements() IS
'Copies the last statements of all open transactions, as far as the caller may see them; what the view transaction_statements shows.';

CREATE FUNCTION lifeguard.read_lock_graph(
	part text,
	OUT level integer, OUT waits boolean, OUT pid integer, OUT prepared_xid xid, OUT datid oid, OUT usesysid oid,
	OUT application_name text, OUT backend_type text, OUT leader_pid integer,
	OUT client_addr inet, OUT backend_start timestamptz, OUT state text,
	OUT state_age interval, OUT xact_age interval,
	OUT query_id bigint, OUT query text, OUT query_tags text, OUT statements text[],
	OUT syncrep boolean,
	OUT wait_start timestamptz, OUT waited interval, OUT mode text,
	OUT locktype text, OUT database oid, OUT relation oid, OUT relation_name text,
	OUT awaited text, OUT page bigint, OUT tuple integer,
	OUT virtualxid text, OUT transactionid xid, OUT classid oid, OUT objid oid, OUT objsubid integer,
	OUT blocked_by integer[], OUT root_pids integer[], OUT depth integer, OUT deadlock boolean,
	OUT held_modes text[], OUT awaited_modes text[],
	OUT blocked_directly integer, OUT blocked_total integer,
	OUT longest_wait interval, OUT total_wait interval, OUT can_act boolean)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_lock_graph' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.read_lock_graph(text) IS
'Reads who waits for whom: its "waits", its "blockers" or its "tree"; what the views lock_waits, blockers and lock_tree show.';

CREATE FUNCTION lifeguard.read_connections(
	OUT max_connections integer, OUT superuser_reserved_connections integer,
	OUT reserved_connections integer, OUT usable integer, OUT used integer,
	OUT active integer, OUT idle integer, OUT idle_in_transaction integer,
	OUT idle_in_transaction_aborted integer, OUT other integer, OUT waiting integer,
	OUT max_wal_senders integer, OUT walsenders integer,
	OUT high_water integer, OUT high_water_at timestamptz, OUT refusals bigint,
	OUT full_in interval)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_connections'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION lifeguard.read_connections() IS
'Counts connection slots and sessions by state; what the view connections shows.';

CREATE FUNCTION lifeguard.read_connection_usage(
	OUT datid oid, OUT usesysid oid, OUT application_name text, OUT client_addr inet,
	OUT used integer, OUT active integer, OUT idle integer, OUT idle_in_transaction integer,
	OUT idle_in_transaction_aborted integer, OUT waiting integer, OUT oldest interval)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_connection_usage'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.read_connection_usage() IS
'Counts sessions by database, role, application and client; what the view connection_usage shows.';

CREATE FUNCTION lifeguard.read_status(
	OUT collector text, OUT library_version text, OUT collector_pid integer,
	OUT collector_since timestamptz, OUT collector_starts integer,
	OUT sample_interval interval, OUT fast_interval interval, OUT current_interval interval,
	OUT last_pass timestamptz, OUT last_pass_cost interval, OUT total_cost interval,
	OUT passes bigint, OUT missed_passes bigint, OUT late_passes bigint,
	OUT clock_jumps bigint, OUT last_clock_jump timestamptz, OUT ages_count_from timestamptz,
	OUT used integer, OUT active integer, OUT idle_in_transaction integer,
	OUT waiting integer, OUT blockers integer, OUT longest_wait interval,
	OUT shared_memory bigint, OUT waits_cut_off bigint, OUT waits_folded bigint,
	OUT reset_at timestamptz,
	OUT keeper_last_run timestamptz, OUT keeper_last_flush timestamptz,
	OUT keeper_failures bigint, OUT keeper_problem text,
	OUT policies integer, OUT policies_published_at timestamptz, OUT policies_read_at timestamptz,
	OUT ledger_unflushed integer, OUT ledger_lost bigint,
	OUT records_unflushed integer, OUT records_lost bigint, OUT refusals_counted boolean)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_status'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION lifeguard.read_status() IS
'Copies what the collector says of itself; what the view status shows.';

-- Views check EXECUTE for whoever selects from them; said here in case default
-- privileges give it to nobody.
GRANT EXECUTE ON FUNCTION lifeguard.read_sessions(), lifeguard.read_transaction_statements(),
	lifeguard.read_lock_graph(text), lifeguard.read_connections(),
	lifeguard.read_connection_usage(), lifeguard.read_status()
	TO PUBLIC;
