-- With sample_interval = 0 the collector makes no pass by itself: whatever
-- changes here is the doing of run_pass().
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_lifeguard;
RESET client_min_messages;

SELECT lifeguard.reset();
SELECT high_water, high_water_at FROM lifeguard.connections;
SELECT passes, total_cost, clock_jumps, late_passes, missed_passes, now() AS before FROM lifeguard.status \gset

SELECT lifeguard.run_pass();
SELECT passes - :passes AS passes_made, last_pass >= :'before' AS just_now, last_pass <= now() AS not_later,
	total_cost - :'total_cost' = last_pass_cost AS cost_adds_up, last_pass_cost > '0' AS cost_something
FROM lifeguard.status;
SELECT high_water >= 1 AS marked, high_water <= used + 5 AS plausible, high_water_at >= :'before' AS just_now FROM lifeguard.connections;

-- exactly as many as asked for; several in one statement, in one transaction, in a function
SELECT lifeguard.run_pass(), lifeguard.run_pass() FROM generate_series(1, 10);
BEGIN;
SELECT lifeguard.run_pass();
SAVEPOINT a;
SELECT lifeguard.run_pass();
ROLLBACK;
DO $$ BEGIN FOR i IN 1..7 LOOP PERFORM lifeguard.run_pass(); END LOOP; END $$;
SELECT passes - :passes AS passes_made FROM lifeguard.status;
-- an error after a pass neither undoes it nor keeps the next from being made
SELECT lifeguard.run_pass(), 1 / (passes - passes) FROM lifeguard.status;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT lifeguard.run_pass();
COMMIT;
SELECT passes - :passes AS passes_made FROM lifeguard.status;

-- the mark stays when sessions go, and high_water_at tells when it was first reached
SELECT high_water, high_water_at FROM lifeguard.connections \gset
SELECT lifeguard.run_pass();
SELECT high_water >= :high_water AS kept, high_water > :high_water OR high_water_at = :'high_water_at' AS first_time FROM lifeguard.connections;

SELECT lifeguard.reset();
SELECT high_water, high_water_at FROM lifeguard.connections;
SELECT reset_at >= :'before' AS reset_noted, passes - :passes AS passes_kept FROM lifeguard.status;
SELECT lifeguard.run_pass();
SELECT high_water >= 1 AS marked FROM lifeguard.connections;

-- the whole row, in calm
SELECT collector, library_version = catalog_version AS versions_match, message,
	collector_pid <> pg_backend_pid() AS of_its_own, collector_since <= now() AS since, collector_starts,
	sample_interval, fast_interval, current_interval,
	last_clock_jump, ages_count_from, clock_jumps - :clock_jumps AS clock_jumps,
	late_passes - :late_passes AS late_passes, missed_passes - :missed_passes AS missed_passes,
	used >= 1 AS used, active >= 1 AS active, idle_in_transaction, waiting, blockers, longest_wait,
	shared_memory BETWEEN 1 AND 16 * 1024 * 1024 AS shared_memory, waits_cut_off
FROM lifeguard.status \gx
-- the collector is a process of no database, and no session
SELECT a.backend_type, a.datname, a.xact_start, a.backend_xmin, s.pid AS among_sessions
FROM lifeguard.status t JOIN pg_stat_activity a ON a.pid = t.collector_pid LEFT JOIN lifeguard.sessions s ON s.pid = a.pid;
SELECT count(*) AS locks_held FROM lifeguard.status t JOIN pg_locks l ON l.pid = t.collector_pid;
