-- How long connections take to be ready, and how many there are.

CREATE FUNCTION lifeguard.read_setup_times(
	OUT application_name text, OUT client_addr inet, OUT connections bigint,
	OUT per_second numeric, OUT p50 interval, OUT p95 interval, OUT p99 interval,
	OUT max interval, OUT average_life interval, OUT ended bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_setup_times' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.read_setup_times() IS
'Copies the counts of connections from shared memory; what the view setup_times shows.';

CREATE FUNCTION lifeguard.read_setup_histogram(
	OUT upper_bound double precision, OUT connections bigint, OUT total_seconds double precision)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_setup_histogram' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.read_setup_histogram() IS
'The setup times of all connections since the server started, or lifeguard.reset(), as a cumulative histogram: how many were ready within upper_bound seconds, in the last row, infinity, all of them; and in each row the seconds that all took together.';
GRANT EXECUTE ON FUNCTION lifeguard.read_setup_times(), lifeguard.read_setup_histogram() TO PUBLIC;

CREATE VIEW lifeguard.setup_times AS
SELECT s.application_name, s.client_addr, s.connections, s.per_second, s.p50, s.p95, s.p99, s.max,
	s.average_life, s.ended
FROM lifeguard.read_setup_times() s
ORDER BY s.connections DESC, s.application_name, s.client_addr;
COMMENT ON VIEW lifeguard.setup_times IS
'How long connections took to be ready, from the start of their process, and how many there are, by application and client, most first; since the server started, or lifeguard.reset(). Counts and max are exact, walsenders and workers are not among them, and who failed to log in neither. The clock starts when the server has a process for the connection: what a client waits before, and what session_preload_libraries and login triggers take afterwards, comes on top; what the client itself takes to answer during authentication is in it. Many connections per second that live for moments want a pooler.';
COMMENT ON COLUMN lifeguard.setup_times.application_name IS 'What the clients called themselves when they connected, empty if nothing; NULL in the one row, if there is one, for all that came after 64 groups';
COMMENT ON COLUMN lifeguard.setup_times.client_addr IS 'Address of the clients; NULL for Unix sockets, and unless you have the rights of pg_read_all_stats: there is a row for each all the same';
COMMENT ON COLUMN lifeguard.setup_times.connections IS 'Connections that came to be ready';
COMMENT ON COLUMN lifeguard.setup_times.per_second IS 'Connections per second in the last minute, or for as long as has been counted; NULL in the first second';
COMMENT ON COLUMN lifeguard.setup_times.p50 IS 'Half of them were ready within this time; from a histogram, as a rule within 12 % of the true one';
COMMENT ON COLUMN lifeguard.setup_times.p95 IS '95 % of them were; likewise';
COMMENT ON COLUMN lifeguard.setup_times.p99 IS '99 % of them were; likewise';
COMMENT ON COLUMN lifeguard.setup_times.max IS 'Longest time that one took';
COMMENT ON COLUMN lifeguard.setup_times.average_life IS 'How long those that ended had lived, on average, from the start of their process; NULL: none ended';
COMMENT ON COLUMN lifeguard.setup_times.ended IS 'Connections that ended, those of before lifeguard.reset() too; by a crash, or that of another session, none does';
GRANT SELECT ON lifeguard.setup_times TO PUBLIC;
