-- How pg_lifeguard itself is.

CREATE VIEW lifeguard.status AS
SELECT s.collector, s.library_version, e.extversion AS catalog_version,
	CASE
		WHEN s.library_version IS DISTINCT FROM e.extversion THEN
			pg_catalog.format('library %s meets catalog %s: run ALTER EXTENSION pg_lifeguard UPDATE, and restart the server if the library was replaced',
				s.library_version, e.extversion)
		WHEN s.collector = 'not loaded' THEN
			'pg_lifeguard is not loaded: add it to shared_preload_libraries and restart the server; live views work all the same'
		WHEN s.collector = 'no collector' AND s.collector_starts = 0 THEN
			'the collector has not started; unless the server has just done so, it has no worker slot for it: raise max_worker_processes and restart the server'
		WHEN s.collector = 'no collector' THEN
			'no collector runs; it is started again within seconds, the server log says why it ended'
		WHEN s.collector = 'stalled' THEN
			'the collector has made no pass for longer than its interval allows'
		WHEN s.collector = 'on demand' THEN
			'pg_lifeguard.sample_interval is 0: passes only by lifeguard.run_pass()'
		WHEN NOT s.refusals_counted THEN
			'log_min_messages = panic keeps refused connections out of the server log, so they are not counted: set it to fatal or lower'
	END AS message,
	s.collector_pid, s.collector_since, s.collector_starts,
	s.sample_interval, s.fast_interval, s.current_interval,
	s.last_pass, s.last_pass_cost, s.total_cost, s.passes, s.missed_passes, s.late_passes,
	s.clock_jumps, s.last_clock_jump, s.ages_count_from,
	s.used, s.active, s.idle_in_transaction, s.waiting, s.blockers, s.longest_wait,
	s.shared_memory, s.waits_cut_off, s.waits_folded, s.reset_at,
	s.keeper_last_run, s.keeper_last_flush, s.keeper_failures, s.keeper_problem,
	s.policies, s.policies_published_at, s.policies_read_at, s.ledger_unflushed, s.ledger_lost,
	s.records_unflushed, s.records_lost, s.refusals_counted
FROM lifeguard.read_status() s
	LEFT JOIN pg_catalog.pg_extension e ON e.extname = 'pg_lifeguard';
COMMENT ON VIEW lifeguard.status IS
'How pg_lifeguard itself is, in one row; NULLs where it is not preloaded.';
COMMENT ON COLUMN lifeguard.status.collector IS 'running, on demand, stalled, no collector or not loaded';
COMMENT ON COLUMN lifeguard.status.library_version IS 'Version of the library in use';
COMMENT ON COLUMN lifeguard.status.catalog_version IS 'Version of the extension''s objects in this database';
COMMENT ON COLUMN lifeguard.status.message IS 'What is to be done, if anything';
COMMENT ON COLUMN lifeguard.status.collector_pid IS 'Process ID of the collector';
COMMENT ON COLUMN lifeguard.status.collector_since IS 'When it started';
COMMENT ON COLUMN lifeguard.status.collector_starts IS 'How often it has started since the server did';
COMMENT ON COLUMN lifeguard.status.sample_interval IS 'Time between passes in calm, as the collector has it in force; 0 = on demand only';
COMMENT ON COLUMN lifeguard.status.fast_interval IS 'Time between passes while anybody waits';
COMMENT ON COLUMN lifeguard.status.current_interval IS 'Which of the two it keeps now';
COMMENT ON COLUMN lifeguard.status.last_pass IS 'When the newest pass began';
COMMENT ON COLUMN lifeguard.status.last_pass_cost IS 'CPU time of that pass';
COMMENT ON COLUMN lifeguard.status.total_cost IS 'CPU time of all passes since the server started';
COMMENT ON COLUMN lifeguard.status.passes IS 'Passes since the server started';
COMMENT ON COLUMN lifeguard.status.missed_passes IS 'Passes that were due and not made: the collector was away, stopped or late';
COMMENT ON COLUMN lifeguard.status.late_passes IS 'Passes more than 5 s late';
COMMENT ON COLUMN lifeguard.status.clock_jumps IS 'Times the wall clock moved against the monotonic clock by more than 1 s between passes';
COMMENT ON COLUMN lifeguard.status.last_clock_jump IS 'When that was noticed last';
COMMENT ON COLUMN lifeguard.status.ages_count_from IS 'No policy acts on age gained before this: the last clock jump or late pass';
COMMENT ON COLUMN lifeguard.status.used IS 'Connection slots taken, as the newest pass saw it';
COMMENT ON COLUMN lifeguard.status.active IS 'Active sessions, as the newest pass saw it';
COMMENT ON COLUMN lifeguard.status.idle_in_transaction IS 'Sessions idle in a transaction, aborted or not, as the newest pass saw it';
COMMENT ON COLUMN lifeguard.status.waiting IS 'Sessions and other processes waiting for a lock, as the newest pass saw it';
COMMENT ON COLUMN lifeguard.status.blockers IS 'Root blockers, as the newest pass saw it';
COMMENT ON COLUMN lifeguard.status.longest_wait IS 'Longest lock wait, as the newest pass saw it';
COMMENT ON COLUMN lifeguard.status.shared_memory IS 'Shared memory in use, in bytes';
COMMENT ON COLUMN lifeguard.status.waits_cut_off IS 'Waiters, or roots of waiters, left out of passes because a bound was reached; also waits that were only summed, or lack their root, for want of room';
COMMENT ON COLUMN lifeguard.status.waits_folded IS 'Waits that contention has, for want of room, without their statements or without saying of whom and of what; one that lasts over several minutes may count in each';
COMMENT ON COLUMN lifeguard.status.reset_at IS 'When lifeguard.reset() was last called; the view contention counts from then on';
COMMENT ON COLUMN lifeguard.status.keeper_last_run IS 'When a keeper, who reads policies and writes ledger and histories, was last in the home database';
COMMENT ON COLUMN lifeguard.status.keeper_last_flush IS 'When ledger entries or records of histories were last written to their tables';
COMMENT ON COLUMN lifeguard.status.keeper_failures IS 'What keepers could not do, or could not be sent for, since the server started';
COMMENT ON COLUMN lifeguard.status.keeper_problem IS 'Why policies are not read, or ledger or histories not written, as of the newest attempt; NULL when all is well';
COMMENT ON COLUMN lifeguard.status.policies IS 'Policies as published to all processes, disabled ones included';
COMMENT ON COLUMN lifeguard.status.policies_published_at IS 'When they were last changed';
COMMENT ON COLUMN lifeguard.status.policies_read_at IS 'When they were last read';
COMMENT ON COLUMN lifeguard.status.ledger_unflushed IS 'Ledger entries that are, as they are now, only in shared memory';
COMMENT ON COLUMN lifeguard.status.ledger_lost IS 'Ledger entries pushed out of shared memory before they were in their table; the server log has them';
COMMENT ON COLUMN lifeguard.status.records_unflushed IS 'Records of histories that are due and, as they are now, only in shared memory';
COMMENT ON COLUMN lifeguard.status.records_lost IS 'Records of histories pushed out of shared memory before they were in their tables';
COMMENT ON COLUMN lifeguard.status.refusals_counted IS 'False while the server''s log_min_messages hides FATAL errors: refused connections are counted where they are written to the server log';

CREATE FUNCTION lifeguard.run_pass() RETURNS void
AS 'MODULE_PATHNAME', 'pg_lifeguard_run_pass' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.run_pass() IS
'Makes one pass now, as the collector would, and returns when it is done.';

CREATE FUNCTION lifeguard.reset() RETURNS void
AS 'MODULE_PATHNAME', 'pg_lifeguard_reset' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.reset() IS
'Forgets the high-water mark, of which the next pass sets a new one, and counts contention, refused connections and connections anew: the views contention, refusal_counts and setup_times begin then, histories stay.';

REVOKE ALL ON FUNCTION lifeguard.run_pass(), lifeguard.reset() FROM PUBLIC;
GRANT SELECT ON lifeguard.status TO PUBLIC;
