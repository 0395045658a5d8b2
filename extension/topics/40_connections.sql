-- How full the pool of connections is, and of whom.

CREATE VIEW lifeguard.connections AS
SELECT c.max_connections, c.superuser_reserved_connections, c.reserved_connections,
	c.usable, c.used, pg_catalog.round(c.used::numeric / NULLIF(c.usable, 0), 4) AS used_share,
	c.active, c.idle, c.idle_in_transaction, c.idle_in_transaction_aborted, c.other,
	c.waiting, c.max_wal_senders, c.walsenders, c.high_water, c.high_water_at,
	c.refusals, c.full_in
FROM lifeguard.read_connections() c;
COMMENT ON VIEW lifeguard.connections IS
'How full the server is now, in one row.';
COMMENT ON COLUMN lifeguard.connections.max_connections IS 'Regular connection slots of the server';
COMMENT ON COLUMN lifeguard.connections.superuser_reserved_connections IS 'The last so many are for superusers';
COMMENT ON COLUMN lifeguard.connections.reserved_connections IS 'The so many before those are for members of pg_use_reserved_connections (PostgreSQL 16 and newer; else 0)';
COMMENT ON COLUMN lifeguard.connections.usable IS 'Slots that any role may take: max_connections less both kinds of reserved ones';
COMMENT ON COLUMN lifeguard.connections.used IS 'Slots taken, by connections still starting too';
COMMENT ON COLUMN lifeguard.connections.used_share IS 'used / usable; more than 1 when reserved slots are taken';
COMMENT ON COLUMN lifeguard.connections.active IS 'Sessions that run a statement';
COMMENT ON COLUMN lifeguard.connections.idle IS 'Sessions idle outside a transaction';
COMMENT ON COLUMN lifeguard.connections.idle_in_transaction IS 'Sessions idle in a transaction';
COMMENT ON COLUMN lifeguard.connections.idle_in_transaction_aborted IS 'Sessions idle in a transaction that failed';
COMMENT ON COLUMN lifeguard.connections.other IS 'Slots whose session is still starting, ending, or has track_activities off';
COMMENT ON COLUMN lifeguard.connections.waiting IS 'Sessions that wait for a heavyweight lock (counted under their state too)';
COMMENT ON COLUMN lifeguard.connections.max_wal_senders IS 'Slots for walsenders, apart from max_connections';
COMMENT ON COLUMN lifeguard.connections.walsenders IS 'Of those, taken';
COMMENT ON COLUMN lifeguard.connections.high_water IS 'Most slots that a pass ever saw taken; NULL without the collector. A peak between two passes is not seen';
COMMENT ON COLUMN lifeguard.connections.high_water_at IS 'When that was first so';
COMMENT ON COLUMN lifeguard.connections.refusals IS 'Connection attempts turned away since the server started or lifeguard.reset() was called, by cause in refusal_counts; NULL where pg_lifeguard is not preloaded';
COMMENT ON COLUMN lifeguard.connections.full_in IS 'Forecast: when all usable slots will be taken if it goes on as in the longest of the last 5, 2 and 1 minutes in which the number of connections rose steadily, by a straight line through its seconds; NULL while it does not rise clearly, or too little is known of these minutes. A guess, and no promise';

CREATE VIEW lifeguard.connection_usage AS
SELECT u.datid, d.datname, u.usesysid, r.rolname AS usename, u.application_name, u.client_addr,
	u.used, u.active, u.idle, u.idle_in_transaction, u.idle_in_transaction_aborted, u.waiting,
	u.oldest
FROM lifeguard.read_connection_usage() u
	LEFT JOIN pg_catalog.pg_database d ON d.oid = u.datid
	LEFT JOIN pg_catalog.pg_authid r ON r.oid = u.usesysid
ORDER BY u.used DESC;
COMMENT ON VIEW lifeguard.connection_usage IS
'Who holds the connections now: sessions by database, role, application and client, most first. Counts are true for everybody, whoever may see the sessions.';
COMMENT ON COLUMN lifeguard.connection_usage.datid IS 'OID of the database';
COMMENT ON COLUMN lifeguard.connection_usage.datname IS 'Name of the database';
COMMENT ON COLUMN lifeguard.connection_usage.usesysid IS 'OID of the role';
COMMENT ON COLUMN lifeguard.connection_usage.usename IS 'Name of the role';
COMMENT ON COLUMN lifeguard.connection_usage.application_name IS 'What the clients call themselves';
COMMENT ON COLUMN lifeguard.connection_usage.client_addr IS 'Address of the clients; NULL for Unix sockets, and for roles whose sessions you may not see';
COMMENT ON COLUMN lifeguard.connection_usage.used IS 'Sessions';
COMMENT ON COLUMN lifeguard.connection_usage.active IS 'Of those, running a statement';
COMMENT ON COLUMN lifeguard.connection_usage.idle IS 'Of those, idle outside a transaction';
COMMENT ON COLUMN lifeguard.connection_usage.idle_in_transaction IS 'Of those, idle in a transaction';
COMMENT ON COLUMN lifeguard.connection_usage.idle_in_transaction_aborted IS 'Of those, idle in a transaction that failed';
COMMENT ON COLUMN lifeguard.connection_usage.waiting IS 'Of those, waiting for a heavyweight lock';
COMMENT ON COLUMN lifeguard.connection_usage.oldest IS 'Age of the oldest of these sessions; NULL for roles whose sessions you may not see';

GRANT SELECT ON lifeguard.connections, lifeguard.connection_usage TO PUBLIC;
