-- What the scenes are compared with: pg_locks and pg_blocking_pids(), the same
-- questions answered by the server itself, pair by pair and slowly.
--
-- The setup of each spec reads this file; so do TAP tests.  look and harm tell
-- a scene by session names, without PIDs; contradictions() returns a line for
-- everything that the views say and the server does not, or the reverse.

SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_lifeguard;

-- The name a spec gave to that session; isolationtester appends it to application_name.
CREATE OR REPLACE FUNCTION who(pid integer) RETURNS text LANGUAGE sql RETURN
CASE WHEN pid = 0 THEN 'prepared'
	 ELSE COALESCE((SELECT COALESCE(NULLIF(regexp_replace(a.application_name, '.*/', ''), ''), a.backend_type)
						|| CASE WHEN a.leader_pid IS NULL THEN '' ELSE '''s worker' END
					FROM pg_stat_activity a WHERE a.pid = who.pid), 'gone') END;

CREATE OR REPLACE FUNCTION who(pids integer[]) RETURNS text LANGUAGE sql RETURN
	(SELECT string_agg(DISTINCT who(p), ' ' ORDER BY who(p)) FROM unnest(pids) p);

-- Numbers that differ from run to run become N.
CREATE OR REPLACE FUNCTION anonymous(line text) RETURNS text LANGUAGE sql RETURN
	regexp_replace(line, '(object |transaction |pid = |pg_temp_)\d+(/\d+)?', '\1N', 'g');

CREATE OR REPLACE VIEW look AS
SELECT who(pid) AS waiter, mode, anonymous(awaited) AS awaited, anonymous(relation_name) AS relation_name,
	who(blocked_by) AS blocked_by, who(root_pids) AS roots, depth, deadlock
FROM lifeguard.lock_waits ORDER BY 1, 3;

CREATE OR REPLACE VIEW harm AS
SELECT COALESCE(gid, who(pid)) AS blocker, anonymous(relation_name) AS relation_name, held_modes, awaited_modes,
	blocked_directly AS directly, blocked_total AS total, deadlock
FROM lifeguard.blockers ORDER BY blocked_total DESC, 1;

-- Wait, busily, until so many processes await a lock.  Only for waits that
-- isolationtester cannot see, because no session of the spec is their blocker.
CREATE OR REPLACE PROCEDURE until_waiting(n bigint) LANGUAGE plpgsql AS $$
BEGIN
	WHILE (SELECT count(*) FROM pg_locks WHERE NOT granted) <> n LOOP
		IF clock_timestamp() > statement_timestamp() + interval '180 s' THEN
			RAISE 'nobody came to wait';
		END IF;
	END LOOP;
END $$;

CREATE OR REPLACE FUNCTION contradictions() RETURNS SETOF text LANGUAGE sql AS $$
WITH RECURSIVE
-- the server's word: waits, and who waits for whom; parallel workers count as their leader
waits AS MATERIALIZED (
	SELECT COALESCE(a.leader_pid, l.pid) AS node, l.*
	FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted),
waiting AS MATERIALIZED (SELECT DISTINCT node FROM waits),
edges AS MATERIALIZED (
	SELECT DISTINCT w.node, b.blocker FROM waiting w, unnest(pg_blocking_pids(w.node)) b (blocker)),
-- what follows from it, by brute force
paths AS (
	SELECT node, blocker FROM edges
	UNION SELECT p.node, e.blocker FROM paths p JOIN edges e ON e.node = p.blocker),
looped AS MATERIALIZED (SELECT node FROM paths WHERE node = blocker),
mates AS MATERIALIZED (
	SELECT p.node, p.blocker AS mate FROM paths p JOIN paths q ON q.node = p.blocker AND q.blocker = p.node),
walks AS (
	SELECT node AS waiter, node, 0 AS steps FROM waiting WHERE node NOT IN (SELECT node FROM looped)
	UNION SELECT w.waiter, e.blocker, w.steps + 1 FROM walks w JOIN edges e USING (node)
	WHERE w.node NOT IN (SELECT node FROM looped)),
ends AS (
	SELECT waiter, steps, w.node AS root FROM walks w WHERE w.node NOT IN (SELECT node FROM waiting)
	UNION SELECT waiter, steps, mate FROM walks w JOIN mates USING (node)
	UNION SELECT node, NULL, mate FROM mates),
places AS MATERIALIZED (
	SELECT w.node,
		ARRAY(SELECT DISTINCT blocker FROM edges e WHERE e.node = w.node ORDER BY 1) AS blocked_by,
		ARRAY(SELECT DISTINCT root FROM ends e WHERE e.waiter = w.node ORDER BY 1) AS root_pids,
		(SELECT min(steps) FROM ends e WHERE e.waiter = w.node) AS depth,
		w.node IN (SELECT node FROM looped) AS deadlock
	FROM waiting w),
totals AS MATERIALIZED (
	SELECT r.root,
		(SELECT count(*) FROM edges e WHERE e.blocker = r.root AND e.node <> r.root) AS directly,
		(SELECT count(*) FROM paths p WHERE p.blocker = r.root AND p.node <> r.root) AS total,
		r.root IN (SELECT node FROM looped) AS deadlock
	FROM (SELECT blocker AS root FROM edges WHERE blocker NOT IN (SELECT node FROM waiting)
		  UNION SELECT node FROM looped) r),
-- ours
got AS MATERIALIZED (SELECT COALESCE(leader_pid, pid) AS node, * FROM lifeguard.lock_waits),
blockers AS MATERIALIZED (SELECT COALESCE(pid, 0) AS root, * FROM lifeguard.blockers),
sessions AS MATERIALIZED (SELECT * FROM lifeguard.sessions),
tree AS MATERIALIZED (
	SELECT COALESCE(pid, 0) AS node, level, deadlock, row_number() OVER () AS line FROM lifeguard.lock_tree),
idle AS MATERIALIZED (SELECT * FROM lifeguard.idle_transactions)

SELECT format('lock_waits: %s is %s', who(pid),
			  CASE WHEN g.pid IS NULL THEN 'missing' ELSE 'no waiter' END)
FROM waits w FULL JOIN got g USING (pid)
WHERE w.pid IS NULL OR g.pid IS NULL
UNION ALL
SELECT format('lock_waits: %s awaits %s, not %s', who(pid), w, g)
FROM waits w JOIN got g USING (pid)
WHERE (w.locktype, w.mode) IS DISTINCT FROM (g.locktype, g.mode)
   OR w.virtualxid IS DISTINCT FROM g.virtualxid
   -- pg_locks of 15 shows speculative tokens without their transaction
   OR w.transactionid IS DISTINCT FROM g.transactionid AND w.locktype <> 'spectoken'
   OR w.locktype NOT IN ('transactionid', 'spectoken')
	  AND (w.database, w.relation, w.page, w.tuple::int, w.classid, w.objid, w.objsubid::int) IS DISTINCT FROM
		  (g.database, g.relation, g.page::int, g.tuple, g.classid, g.objid, g.objsubid)
   OR w.waitstart <> g.wait_start
UNION ALL
SELECT format('lock_waits: %s is blocked by %s, not %s', who(g.pid), who(p.blocked_by), who(g.blocked_by))
FROM got g JOIN places p USING (node) WHERE p.blocked_by <> g.blocked_by
UNION ALL
SELECT format('lock_waits: roots of %s are %s, not %s', who(g.pid), who(p.root_pids), who(g.root_pids))
FROM got g JOIN places p USING (node) WHERE p.root_pids IS DISTINCT FROM g.root_pids
UNION ALL
SELECT format('lock_waits: depth of %s is %s, not %s; deadlock %s, not %s', who(g.pid), p.depth, g.depth, p.deadlock, g.deadlock)
FROM got g JOIN places p USING (node) WHERE (p.depth, p.deadlock) IS DISTINCT FROM (g.depth, g.deadlock)
UNION ALL
SELECT format('blockers: %s is %s', who(COALESCE(t.root, b.root)),
			  CASE WHEN b.root IS NULL THEN 'missing' ELSE 'no root' END)
FROM totals t FULL JOIN blockers b ON b.root = t.root
WHERE t.root IS NULL OR b.root IS NULL
UNION ALL
-- pg_blocking_pids() does not tell one prepared transaction from another
SELECT format('blockers: %s blocks %s, %s, %s, not %s, %s, %s', who(t.root), t.directly, t.total, t.deadlock,
			  b.blocked_directly, b.blocked_total, b.deadlock)
FROM totals t JOIN blockers b ON b.root = t.root
WHERE (t.directly, t.total, t.deadlock) IS DISTINCT FROM (b.blocked_directly, b.blocked_total, b.deadlock)
  AND (t.root <> 0 OR (SELECT count(*) FROM pg_prepared_xacts) = 1)
UNION ALL
SELECT format('sessions: %s is blocked by %s, not %s', who(s.pid), who(p.blocked_by), who(s.blocked_by))
FROM sessions s LEFT JOIN places p ON p.node = s.pid
WHERE COALESCE(p.blocked_by, ARRAY[]::int[]) <> ARRAY(SELECT DISTINCT b FROM unnest(s.blocked_by) b ORDER BY 1)
UNION ALL
SELECT format('sessions: %s blocks %s, not %s', who(s.pid), p.n, s.blocking)
FROM sessions s, LATERAL (SELECT count(*) AS n FROM paths p WHERE p.blocker = s.pid AND p.node <> s.pid) p
WHERE p.n <> s.blocking
UNION ALL
SELECT format('lock_tree: %s is there %s times', who(n.node), n.times)
FROM (SELECT node, count(t.line) AS times
	  FROM (SELECT node FROM waiting UNION SELECT root FROM totals WHERE root <> 0) n
	  FULL JOIN (SELECT * FROM tree WHERE node <> 0) t USING (node) GROUP BY node) n
WHERE n.times <> 1
UNION ALL
SELECT format('lock_tree: %s is in the wrong place', who(t.node))
FROM tree t LEFT JOIN places p USING (node)
WHERE (t.level > 0) IS DISTINCT FROM (p.depth IS NOT NULL) OR t.deadlock <> COALESCE(p.deadlock, false)
   OR t.level > 0 AND (SELECT u.node FROM tree u WHERE u.line < t.line AND u.level < t.level
					   ORDER BY u.line DESC LIMIT 1) <> ALL (p.blocked_by)
UNION ALL
SELECT format('idle_transactions: %s holds %s locks, not %s', who(i.pid), l.n, i.locks_held)
FROM idle i, LATERAL (SELECT count(*) AS n FROM pg_locks l
					  WHERE l.pid = i.pid AND l.granted AND l.mode <> 'SIReadLock') l
WHERE i.locks_held IS DISTINCT FROM l.n
$$;
