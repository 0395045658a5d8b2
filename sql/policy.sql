-- Policies: what the table takes and refuses, from whom, and what the functions do.
-- The home database is postgres unless pg_lifeguard.database says otherwise.
\c postgres
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
SET compute_query_id = on;
SET client_min_messages = warning;
CREATE EXTENSION pg_lifeguard;
CREATE ROLE regress_lg_root SUPERUSER;
CREATE ROLE regress_lg_ann;
CREATE ROLE regress_lg_bob;
CREATE ROLE regress_lg_team;

-- Tries to store a policy by function, by INSERT and by UPDATE of a good one, and
-- takes each back.  One answer when all three give the same, as they should.
CREATE FUNCTION pg_temp.try(given jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	args jsonb := '{"name": "p", "target": "active", "min_duration": "1 min"}' || given;
	command text;
	state text;
	col text;
	message text;
	detail text;
	answers text[] := '{}';
BEGIN
	FOR command IN
		SELECT unnest(ARRAY[
			format('SELECT lifeguard.create_policy(%s)', string_agg(format('%I => %L', key, value), ', ')),
			format('INSERT INTO lifeguard.policy (%s) VALUES (%s)',
				string_agg(format('%I', key), ', '), string_agg(format('%L', value), ', ')),
			format('UPDATE lifeguard.policy SET %s', string_agg(format('%I = %L', key, value), ', '))])
		FROM jsonb_each_text(args)
	LOOP
		BEGIN
			IF command LIKE 'UPDATE%' THEN
				INSERT INTO lifeguard.policy (name, target, min_duration) VALUES ('q', 'transaction', '1 h');
			END IF;
			EXECUTE command;
			RAISE SQLSTATE 'LG000';
		EXCEPTION
			WHEN SQLSTATE 'LG000' THEN
				answers := answers || 'taken'::text;
			WHEN OTHERS THEN
				GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, col = COLUMN_NAME,
					message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
				answers := answers || format('%s %s: %s / %s', state, col, message, detail);
		END;
	END LOOP;
	RETURN CASE WHEN answers[1] = answers[2] AND answers[2] = answers[3] THEN answers[1]
		ELSE 'DIFFERS: ' || answers::text END;
END
$$;

-- required columns, and words
SELECT pg_temp.try(g::jsonb) FROM (VALUES
	('{}'),
	('{"name": null}'),
	('{"name": ""}'),
	('{"name": "  "}'),
	('{"name": "two\nlines"}'),
	('{"name": "\u007f"}'),
	(format('{"name": "%s"}', repeat('x', 63))),
	(format('{"name": "%s"}', repeat('x', 64))),
	('{"target": null}'),
	('{"target": "Active"}'),
	('{"target": "idle in transaction (aborted)"}'),
	('{"min_duration": null}'),
	('{"enabled": null}'),
	('{"keep": null}'),
	('{"schedule": null}'),
	('{"action": null}'),
	('{"action": "kill"}'),
	('{"action": "log"}'),
	('{"victim_order": null}'),
	('{"victim_order": "oldest"}'),
	('{"runs_on": null}'),
	('{"runs_on": "replica"}'),
	('{"include_lock_holders": null}'),
	('{"include_listeners": null}'),
	('{"include_superusers": null}')) v (g);

-- amounts
SELECT pg_temp.try(g::jsonb) FROM (VALUES
	('{"min_duration": "-1 s"}'),
	('{"min_duration": "11 years"}'),
	('{"min_duration": "-1 year 361 days"}'),
	('{"min_duration": "-4 years 1461 days"}'),
	('{"min_blocked_for": "-1 year 361 days"}'),
	('{"cooldown": "-1 year 361 days"}'),
	('{"min_duration": "0"}'),
	('{"min_duration": "0", "min_blocked": 1}'),
	('{"min_duration": "0", "min_blocked_for": "1 s"}'),
	('{"min_duration": "0", "min_horizon_age": 1}'),
	('{"min_duration": "0", "min_same_query": 2}'),
	('{"min_duration": "0", "connections_above": 0.9}'),
	('{"min_blocked": 0}'),
	('{"min_blocked": -1}'),
	('{"min_blocked_for": "0"}'),
	('{"min_blocked_for": "-1 min"}'),
	('{"min_blocked_for": "100 years"}'),
	('{"min_horizon_age": 0}'),
	('{"min_same_query": 1}'),
	('{"min_same_query": 2}'),
	('{"connections_above": 0}'),
	('{"connections_above": -0.5}'),
	('{"connections_above": 1}'),
	('{"connections_above": 1.01}'),
	('{"connections_above": 90}'),
	('{"connections_above": "NaN"}'),
	('{"connections_above": 0.9, "connections_until": 0}'),
	('{"connections_above": 0.9, "connections_until": "NaN"}'),
	('{"connections_above": 0.9, "connections_until": 0.91}'),
	('{"connections_above": 0.9, "connections_until": 0.9}'),
	('{"connections_above": 0.9, "connections_until": 0.75}'),
	('{"connections_until": 0.75}'),
	('{"target": "idle", "keep": -1}'),
	('{"max_per_pass": -1}'),
	('{"max_per_pass": 0}'),
	('{"max_per_minute": -1}'),
	('{"max_per_minute": 0}'),
	('{"cooldown": "-1 s"}'),
	('{"cooldown": "0"}'),
	('{"action": "cancel then terminate", "grace": "0"}'),
	('{"action": "cancel then terminate", "grace": "-1 s"}'),
	('{"action": "cancel then terminate", "grace": "1 s"}')) v (g);

-- what goes with which target and action
SELECT pg_temp.try(g::jsonb) FROM (VALUES
	('{"grace": "5 s"}'),
	('{"action": "terminate", "grace": "5 s"}'),
	('{"action": "cancel", "grace": "5 s"}'),
	('{"target": "active", "keep": 1}'),
	('{"target": "idle in transaction", "keep": 1}'),
	('{"target": "idle", "keep": 1}'),
	('{"target": "idle", "min_horizon_age": 1}'),
	('{"target": "transaction", "min_same_query": 2}'),
	('{"target": "idle", "min_same_query": 2}'),
	('{"target": "idle in transaction", "include_lock_holders": true}'),
	('{"target": "blocker", "include_listeners": true}'),
	('{"target": "idle", "include_lock_holders": true, "include_listeners": true}'),
	('{"gids": "{%}"}'),
	('{"target": "idle", "except_gids": "{%}"}'),
	('{"target": "prepared transaction"}'),
	('{"target": "prepared transaction", "except_gids": "{app%}"}'),
	('{"target": "prepared transaction", "gids": "{app%}"}'),
	('{"target": "prepared transaction", "gids": "{%}", "except_gids": "{keep%}", "action": "terminate"}'),
	('{"target": "prepared transaction", "gids": "{%}", "applications": "{psql}"}'),
	('{"target": "prepared transaction", "gids": "{%}", "except_applications": "{psql}"}'),
	('{"target": "prepared transaction", "gids": "{%}", "clients": "{local}"}'),
	('{"target": "prepared transaction", "gids": "{%}", "except_clients": "{local}"}'),
	('{"target": "prepared transaction", "gids": "{%}", "queries": "{%}"}'),
	('{"target": "prepared transaction", "gids": "{%}", "except_queries": "{%}"}'),
	('{"target": "prepared transaction", "gids": "{%}", "runs_on": "standby"}'),
	('{"target": "queued ddl", "runs_on": "standby"}'),
	('{"target": "active", "runs_on": "standby"}')) v (g);

-- which action takes which target
SELECT t.target, string_agg(a.action, ', ' ORDER BY a.action) FILTER (WHERE r.answer = 'taken') AS taken,
	string_agg(DISTINCT r.answer, ', ') FILTER (WHERE r.answer <> 'taken' AND a.action = 'cancel') AS refused
FROM unnest('{idle in transaction,idle,active,transaction,blocker,waiter,queued ddl,stalled client,prepared transaction}'::text[]) t (target),
	unnest('{log,cancel,terminate,cancel then terminate}'::text[]) a (action),
	pg_temp.try(jsonb_build_object('target', t.target, 'action', a.action,
		'gids', CASE t.target WHEN 'prepared transaction' THEN '{%}' END)) r (answer)
GROUP BY t.target ORDER BY t.target COLLATE "C";

-- filters
SELECT c || ': ' || pg_temp.try(jsonb_build_object(c, '{}')), pg_temp.try(jsonb_build_object(c, '{local,NULL}')) LIKE '%no null entry%',
	pg_temp.try(jsonb_build_object(c, '{{local},{1}}')) LIKE '%in one dimension%'
FROM unnest('{databases,except_databases,roles,except_roles,applications,except_applications,clients,except_clients,queries,except_queries}'::text[]) c;
SELECT c || ': ' || pg_temp.try(jsonb_build_object('target', 'prepared transaction', 'gids', '{%}') || jsonb_build_object(c, e))
FROM unnest('{gids,except_gids}'::text[]) c, unnest('{"{}","{NULL}","{{a},{b}}"}'::text[]) e;
SELECT pg_temp.try(g::jsonb) FROM (VALUES
	('{"databases": "{\"\"}"}'),
	('{"except_databases": "{postgres}"}'),
	('{"roles": "{\"\"}"}'),
	(format('{"except_roles": "{%s}"}', repeat('x', 64))),
	('{"applications": "{\"\",my%,100\\\\\\\\%}"}'),
	(E'{"applications": "{\\"ends in \\\\\\\\\\"}"}'),
	(E'{"applications": "{\\"ends in \\\\\\\\\\\\\\\\\\"}"}'),
	('{"clients": "{local,10.0.0.0/8,192.168.1.7,::1,fe80::/10}"}'),
	('{"clients": "{Local}"}'),
	('{"clients": "{10.0.0.1/8}"}'),
	('{"except_clients": "{db.example.com}"}'),
	('{"except_clients": "{\"\"}"}'),
	('{"queries": "{\"COPY %\",-1234567890123456789,+42}"}'),
	('{"queries": "{0}"}'),
	('{"queries": "{\"\"}"}'),
	('{"queries": "{9223372036854775807,-9223372036854775808}"}'),
	('{"except_queries": "{9223372036854775808}"}'),
	('{"target": "prepared transaction", "gids": "{pg_gid_%}"}'),
	('{"target": "prepared transaction", "gids": "{\"pg\\\\\\\\_gid\\\\\\\\_16384\\\\\\\\_%\"}"}'),
	('{"target": "prepared transaction", "gids": "{\"\"}"}'),
	('{"target": "prepared transaction", "gids": "{%}", "except_gids": "{pg_gid_%}"}')) v (g);

-- schedules and zones
SELECT pg_temp.try(g::jsonb) LIKE '23514 ' || c || ': column "' || c || '" of policy "p" must %', g FROM (VALUES
	('schedule', '{"schedule": ""}'),
	('schedule', '{"schedule": "* * * *"}'),
	('schedule', '{"schedule": "61 * * * *"}'),
	('schedule', '{"schedule": "@daily"}'),
	('except_schedule', '{"except_schedule": "x * * * *"}'),
	('time_zone', '{"time_zone": "Mars/Olympus"}'),
	('time_zone', '{"time_zone": ""}')) v (c, g);
SELECT pg_temp.try(g::jsonb) FROM (VALUES
	('{"schedule": "* 2-4 * * *; 0 12 * * sun", "except_schedule": "* * 24 12 *", "time_zone": "Europe/Berlin"}'),
	('{"time_zone": "UTC"}')) v (g);

SELECT lifeguard.create_policy('p', 'active', '1 min', schedule => '@daily');
SELECT lifeguard.create_policy('p', 'active', '1 min', except_schedule => '30 seconds');

-- size
SELECT pg_temp.try(jsonb_build_object('comment', repeat('x', 8000)));
SELECT pg_temp.try(jsonb_build_object('comment', repeat('x', 8192)));
SELECT pg_temp.try(jsonb_build_object('queries', (SELECT array_agg('%' || i || '%')::text FROM generate_series(1, 1000) i)))
	LIKE '23514 queries: column "queries" of policy "p" must be shorter: a policy has at most 8192 bytes in all /%';

-- number
INSERT INTO lifeguard.policy (name, target, min_duration) SELECT 'p' || i, 'active', '1 h' FROM generate_series(1, 63) i;
SELECT lifeguard.create_policy('p64', 'active', '1 h');
SELECT lifeguard.create_policy('p65', 'active', '1 h');
INSERT INTO lifeguard.policy (name, target, min_duration) VALUES ('p65', 'active', '1 h');
SELECT count(*) FROM lifeguard.policy;
DELETE FROM lifeguard.policy;

-- the row of a policy of which little is said, and what is filled in
SELECT lifeguard.create_policy('plain', 'active', '1 min');
\pset expanded on
\pset tuples_only off
SELECT name, comment, enabled, target, min_duration, min_blocked, min_blocked_for, min_horizon_age, min_same_query,
	connections_above, connections_until, keep, databases, except_databases, roles, except_roles, applications,
	except_applications, clients, except_clients, queries, except_queries, gids, except_gids, schedule,
	except_schedule, time_zone, action, grace, victim_order, max_per_pass, max_per_minute, cooldown,
	include_lock_holders, include_listeners, runs_on, include_superusers, owner = current_user AS mine
FROM lifeguard.policy;
\pset expanded off
\pset tuples_only on
SELECT lifeguard.create_policy('full', 'idle', '1 min', connections_above => 0.9);
SELECT lifeguard.create_policy('stampede', 'active', '1 min', victim_order => 'all but oldest', max_per_minute => 30);
SELECT lifeguard.create_policy('escalates', 'active', '1 min', action => 'cancel then terminate', max_per_pass => 0);
INSERT INTO lifeguard.policy (name, target, min_duration, connections_above) VALUES ('inserted', 'idle', '1 min', 0.9);
SELECT name, grace, max_per_pass, max_per_minute, cooldown FROM lifeguard.policy ORDER BY name COLLATE "C";
SELECT lifeguard.create_policy('plain', 'idle', '1 min');
INSERT INTO lifeguard.policy (name, target, min_duration) VALUES ('plain', 'active', '1 h');

-- altering: what is not named stays, reset brings back the default
SET client_min_messages = notice;
SELECT lifeguard.alter_policy('escalates', min_blocked => 3, comment => 'why', roles => '{postgres}', schedule => '0 3 * * *', time_zone => 'Asia/Tokyo');
SELECT name, comment, enabled, target, min_duration, min_blocked, roles, schedule, time_zone, action, grace, max_per_pass
FROM lifeguard.policy WHERE name = 'escalates';
SELECT lifeguard.alter_policy('escalates', action => 'terminate');
SELECT lifeguard.alter_policy('escalates', action => 'cancel then terminate', grace => '1 min');
SELECT lifeguard.alter_policy('escalates', reset => '{grace,min_blocked,roles,min_blocked,max_per_pass}');
SELECT name, comment, min_blocked, roles, action, grace, max_per_pass FROM lifeguard.policy WHERE name = 'escalates';
SELECT lifeguard.alter_policy('escalates', reset => '{comment,action,schedule,time_zone}', min_duration => '1 h');
SELECT name, comment, min_duration, schedule, time_zone, action, grace FROM lifeguard.policy WHERE name = 'escalates';
SELECT lifeguard.alter_policy('escalates');
SELECT lifeguard.alter_policy('escalates', enabled => true);
SELECT lifeguard.alter_policy('escalates', reset => '{}', min_duration => NULL);
SELECT lifeguard.alter_policy('escalates', connections_above => 0.95);
SELECT lifeguard.alter_policy('escalates', reset => '{max_per_pass,max_per_minute,cooldown}');
SELECT lifeguard.alter_policy('escalates', reset => '{connections_above}');
UPDATE lifeguard.policy SET max_per_pass = DEFAULT, max_per_minute = NULL, cooldown = NULL WHERE name = 'escalates';
SELECT max_per_pass, max_per_minute, cooldown FROM lifeguard.policy WHERE name = 'escalates';
SELECT lifeguard.alter_policy('escalates', min_blocked => 0);
SELECT lifeguard.alter_policy('escalates', roles => '{postgres,NULL}');
SELECT lifeguard.alter_policy('escalates', reset => '{target}');
SELECT lifeguard.alter_policy('escalates', reset => '{owner}');
SELECT lifeguard.alter_policy('escalates', reset => '{min_block}');
SELECT lifeguard.alter_policy('escalates', reset => '{ctid}');
SELECT lifeguard.alter_policy('escalates', reset => '{NULL}');
SELECT lifeguard.alter_policy('escalates', reset => '{keep}', keep => 1);
SELECT lifeguard.alter_policy('nobody', keep => 1);
SELECT lifeguard.alter_policy(NULL, keep => 1);

-- enabling, arming, dropping (the lines this leaves in the log are in the TAP suite)
SELECT lifeguard.disable_policy('escalates');
SELECT lifeguard.disable_policy('escalates');
SELECT lifeguard.alter_policy('escalates', action => 'terminate');
SELECT lifeguard.enable_policy('escalates');
SELECT lifeguard.alter_policy('escalates', action => 'cancel');
SELECT lifeguard.alter_policy('escalates', action => 'log');
UPDATE lifeguard.policy SET name = 'renamed' WHERE name = 'escalates';
SELECT lifeguard.drop_policy('renamed');
SELECT lifeguard.create_policy('armed', 'active', '1 min', action => 'cancel');
SELECT lifeguard.create_policy('asleep', 'active', '1 min', action => 'cancel', enabled => false);
SELECT lifeguard.enable_policy('nobody');
SELECT lifeguard.disable_policy('nobody');
SELECT lifeguard.drop_policy('nobody');
SELECT lifeguard.enable_policy(NULL);
SELECT lifeguard.disable_policy(NULL);
SELECT lifeguard.drop_policy(NULL);
SELECT lifeguard.create_policy(NULL);
SELECT lifeguard.create_policy('q');
SELECT lifeguard.create_policy('q', 'active');
TRUNCATE lifeguard.policy;

-- triggers fire in replica mode, too
SET session_replication_role = replica;
INSERT INTO lifeguard.policy (name, target, min_duration) VALUES ('p', 'active', '-1 h');
INSERT INTO lifeguard.policy (name, target, min_duration) VALUES ('p', 'active', '1 h');
DELETE FROM lifeguard.policy;
RESET session_replication_role;

-- what is stored, with a remark; whether "auto" gives query ids shows in a fresh session
\c postgres
\set SHOW_CONTEXT never
SET compute_query_id = auto;
SELECT lifeguard.create_policy('stampede', 'active', '1 min', min_same_query => 10);
SELECT lifeguard.disable_policy('stampede');
SELECT lifeguard.alter_policy('stampede', reset => '{min_same_query}');
SELECT lifeguard.alter_policy('stampede', queries => '{SELECT%,42}');
SET compute_query_id = off;
SELECT lifeguard.alter_policy('stampede', min_same_query => 10);
SET compute_query_id = on;
SELECT lifeguard.alter_policy('stampede', min_same_query => 20);
SELECT lifeguard.drop_policy('stampede');
SELECT lifeguard.create_policy('typo', 'active', '1 min', except_roles => '{postgress,regress_lg_nobody,postgress}', databases => '{regress_lg_nowhere,postgres}');
SELECT lifeguard.create_policy('never', 'active', '1 min', schedule => '0 0 30 2 *');
SELECT lifeguard.create_policy('shut out', 'active', '1 min', except_schedule => '* * * * *');

-- next_in_force
SET timezone = 'UTC';
SELECT lifeguard.create_policy('night', 'active', '1 min', schedule => '* 2-4 * * *', except_schedule => '* * 25 12 *', time_zone => 'Asia/Tokyo');
SELECT lifeguard.next_in_force('night', '2026-12-23 20:30Z'), lifeguard.next_in_force('night', '2026-12-23 17:30Z'),
	lifeguard.next_in_force('night', '2026-12-24 00:00Z');
SELECT lifeguard.disable_policy('night');
SELECT lifeguard.next_in_force('night', '2026-12-23 20:30Z');
SELECT lifeguard.next_in_force('never'), lifeguard.next_in_force('shut out'), lifeguard.next_in_force('typo') = now();
SELECT lifeguard.next_in_force('nobody');
SELECT lifeguard.next_in_force(NULL);
SELECT lifeguard.next_in_force('night', NULL);
SET client_min_messages = warning;
DELETE FROM lifeguard.policy;
SET client_min_messages = notice;

-- the recommended ones
SELECT lifeguard.create_recommended_policies();
SELECT lifeguard.create_recommended_policies();
SELECT lifeguard.drop_policy('forgotten_transaction');
SELECT lifeguard.create_recommended_policies();
SELECT name, target, enabled, action, min_duration, min_blocked, min_blocked_for, min_horizon_age, min_same_query,
	connections_above, connections_until, keep, victim_order, max_per_pass
FROM lifeguard.policy ORDER BY name COLLATE "C";
SELECT name, comment FROM lifeguard.policy ORDER BY name COLLATE "C";
-- each comment says how to arm it, and that works
DO $$
DECLARE
	command text;
BEGIN
	FOR command IN SELECT substring(comment FROM 'to arm it: (SELECT .*;)$') FROM lifeguard.policy LOOP
		EXECUTE command;
	END LOOP;
END
$$;
SELECT name, action FROM lifeguard.policy ORDER BY name COLLATE "C";

-- a dump: marked, loaded with its state, checked as a whole
SELECT c.conf::regclass, e.extcondition FROM pg_extension e, unnest(e.extconfig) c (conf)
WHERE e.extname = 'pg_lifeguard' AND c.conf = 'lifeguard.policy'::regclass;
DELETE FROM lifeguard.policy;
COPY lifeguard.policy (name, enabled, target, min_duration, action, max_per_pass, max_per_minute, cooldown, owner) FROM stdin;
kept	f	active	00:10:00	terminate	3	4	00:00:05	regress_lg_ann
orphan	t	active	00:10:00	terminate	1	10	00:00:02	regress_lg_gone
\.
SELECT name, enabled, action, max_per_pass, max_per_minute, cooldown, owner FROM lifeguard.policy ORDER BY name COLLATE "C";
COPY lifeguard.policy (name, target, min_duration, action) FROM stdin;
good	active	00:10:00	log
bad	idle	00:10:00	cancel
\.
SELECT count(*) FROM lifeguard.policy WHERE name = 'good';

-- who may do what: nothing without grants
SET ROLE regress_lg_ann;
SELECT count(*) FROM lifeguard.policy;
INSERT INTO lifeguard.policy (name, target, min_duration) VALUES ('p', 'active', '1 h');
SELECT lifeguard.create_policy('p', 'active', '1 h');
SELECT lifeguard.alter_policy('kept', keep => 0);
SELECT lifeguard.enable_policy('kept');
SELECT lifeguard.disable_policy('kept');
SELECT lifeguard.drop_policy('kept');
SELECT lifeguard.next_in_force('kept');
SELECT lifeguard.create_recommended_policies();
RESET ROLE;
SELECT grantee::regrole, privilege_type FROM pg_class, aclexplode(relacl)
WHERE oid = 'lifeguard.policy'::regclass AND grantee <> relowner;
SELECT p.proname FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
WHERE p.pronamespace = 'lifeguard'::regnamespace AND p.provolatile = 'v' AND a.grantee = 0
	AND p.proname ~ '(?<!read_|find_)(policy|policies)';

-- granted, each manages what is its own
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON lifeguard.policy TO regress_lg_ann, regress_lg_bob, regress_lg_team;
GRANT EXECUTE ON FUNCTION lifeguard.create_policy, lifeguard.alter_policy, lifeguard.enable_policy,
	lifeguard.disable_policy, lifeguard.drop_policy, lifeguard.next_in_force, lifeguard.create_recommended_policies
	TO regress_lg_ann, regress_lg_bob, regress_lg_team;
SET SESSION AUTHORIZATION regress_lg_root;
SET ROLE regress_lg_ann;
SELECT lifeguard.create_policy('of ann', 'active', '1 h');
INSERT INTO lifeguard.policy (name, target, min_duration, owner) VALUES ('inserted by ann', 'active', '1 h', 'regress_lg_ann');
SELECT lifeguard.create_policy('of another', 'active', '1 h', owner => 'regress_lg_bob');
INSERT INTO lifeguard.policy (name, target, min_duration, owner) VALUES ('of another', 'active', '1 h', 'regress_lg_bob');
COPY lifeguard.policy (name, target, min_duration, owner) FROM stdin;
of another	active	1 h	regress_lg_bob
\.
SELECT lifeguard.create_policy('mighty', 'active', '1 h', include_superusers => true);
SELECT lifeguard.alter_policy('of ann', include_superusers => true);
SELECT lifeguard.alter_policy('of ann', owner => 'regress_lg_bob');
UPDATE lifeguard.policy SET owner = NULL WHERE name = 'of ann';
SELECT lifeguard.alter_policy('of ann', action => 'cancel');
SELECT lifeguard.enable_policy('kept');
SELECT lifeguard.next_in_force('kept', '2026-01-01 00:00Z');
SELECT lifeguard.alter_policy('orphan', keep => 0, comment => 'x');
SELECT lifeguard.drop_policy('orphan');
TRUNCATE lifeguard.policy;
SET ROLE regress_lg_bob;
SELECT lifeguard.alter_policy('of ann', action => 'log');
SELECT lifeguard.disable_policy('of ann');
SELECT lifeguard.drop_policy('of ann');
UPDATE lifeguard.policy SET action = 'log';
DELETE FROM lifeguard.policy WHERE name = 'of ann';
INSERT INTO lifeguard.policy (name, target, min_duration) VALUES ('of ann', 'active', '1 s')
	ON CONFLICT (name) DO UPDATE SET min_duration = excluded.min_duration;
SELECT lifeguard.create_policy('of ann', 'active', '1 h');

-- nor in any other way: every write meets the triggers, and nobody gets round them
MERGE INTO lifeguard.policy p USING (VALUES ('of ann')) v (name) ON p.name = v.name
	WHEN MATCHED THEN UPDATE SET action = 'log';
MERGE INTO lifeguard.policy p USING (VALUES ('of ann')) v (name) ON p.name = v.name
	WHEN MATCHED THEN DELETE;
MERGE INTO lifeguard.policy p USING (VALUES ('of another')) v (name) ON p.name = v.name
	WHEN NOT MATCHED THEN INSERT (name, target, min_duration, owner) VALUES (v.name, 'active', '1 h', 'regress_lg_ann');
WITH gone AS (DELETE FROM lifeguard.policy WHERE name = 'of ann' RETURNING name) SELECT count(*) FROM gone;
CREATE TEMP VIEW mine AS SELECT * FROM lifeguard.policy;
UPDATE mine SET owner = 'regress_lg_bob', min_duration = '1 s' WHERE name = 'of ann';
CREATE RULE by_rule AS ON DELETE TO mine DO INSTEAD UPDATE lifeguard.policy p SET action = 'terminate' WHERE p.name = OLD.name;
DELETE FROM mine WHERE name = 'of ann';
DROP VIEW mine;
CREATE RULE mine AS ON UPDATE TO lifeguard.policy DO INSTEAD NOTHING;
CREATE FUNCTION pg_temp.mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.owner := session_user; RETURN NEW; END';
CREATE TRIGGER zzz BEFORE INSERT ON lifeguard.policy FOR EACH ROW EXECUTE FUNCTION pg_temp.mine();
CREATE TEMP TABLE mine () INHERITS (lifeguard.policy);
ALTER TABLE lifeguard.policy DISABLE TRIGGER USER;
SET session_replication_role = replica;
SET pg_lifeguard.max_policies = 1000;
SELECT lifeguard.policy_log();
SELECT name, action, min_duration, owner FROM lifeguard.policy WHERE name IN ('of ann', 'of another');

-- members of the owner may; members of a superuser are none themselves
RESET ROLE;
GRANT regress_lg_team TO regress_lg_ann, regress_lg_bob;
GRANT regress_lg_root TO regress_lg_bob;
SET ROLE regress_lg_team;
SELECT lifeguard.create_policy('of team', 'active', '1 h');
SET ROLE regress_lg_root;
SELECT lifeguard.create_policy('of root', 'active', '1 h', include_superusers => true);
SET ROLE regress_lg_bob;
SELECT lifeguard.alter_policy('of team', action => 'cancel');
SELECT lifeguard.alter_policy('of root', action => 'cancel');
SELECT lifeguard.drop_policy('of root');
RESET ROLE;

-- a superuser changes anybody's, and gives them away
SELECT lifeguard.alter_policy('of ann', owner => 'regress_lg_bob');
SELECT lifeguard.alter_policy('of team', include_superusers => true);
UPDATE lifeguard.policy SET owner = NULL WHERE name = 'of ann';
SELECT lifeguard.alter_policy('of root', owner => 'regress_lg_ann');
SELECT lifeguard.alter_policy('inserted by ann', owner => 'regress_lg_gone');
SELECT lifeguard.drop_policy('orphan');
SELECT name, action, owner, include_superusers FROM lifeguard.policy ORDER BY name COLLATE "C";

-- an owner is a name: renamed away, a role leaves its policies to whoever has that name next
ALTER ROLE regress_lg_bob RENAME TO regress_lg_rob;
SELECT owner, count(*) FROM lifeguard.policy WHERE owner LIKE '%ob' GROUP BY 1;
SET ROLE regress_lg_rob;
SELECT lifeguard.disable_policy('of ann');
RESET ROLE;
ALTER ROLE regress_lg_rob RENAME TO regress_lg_bob;

-- who watches may read
GRANT pg_read_all_stats TO regress_lg_ann;
REVOKE ALL ON lifeguard.policy FROM regress_lg_ann;
SET ROLE regress_lg_ann;
SELECT count(*) FROM lifeguard.policy;
RESET ROLE;

-- elsewhere: managing is an error that says how, loading is none
CREATE DATABASE regress_lg_elsewhere;
\c regress_lg_elsewhere
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION pg_lifeguard;
RESET client_min_messages;
SELECT lifeguard.create_policy('p', 'active', '1 h');
COPY lifeguard.policy (name, target, min_duration, owner) FROM stdin;
p	active	1 h	regress_lg_bob
\.
\set VERBOSITY terse
SELECT lifeguard.create_policy('p', 'active', '1 h');
SELECT lifeguard.alter_policy('p', keep => 0);
SELECT lifeguard.enable_policy('p');
SELECT lifeguard.disable_policy('p');
SELECT lifeguard.drop_policy('p');
SELECT lifeguard.create_recommended_policies();
SELECT name, owner FROM lifeguard.policy;
\set VERBOSITY default

-- every table, column and function is explained
SELECT attname FROM pg_attribute
WHERE attrelid = 'lifeguard.policy'::regclass AND attnum > 0 AND col_description(attrelid, attnum) IS NULL;
SELECT oid::regprocedure FROM pg_proc
WHERE pronamespace = 'lifeguard'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL;
SELECT count(*), bool_and(tgenabled = 'A') FROM pg_trigger WHERE tgrelid = 'lifeguard.policy'::regclass;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_lg_elsewhere;
DROP EXTENSION pg_lifeguard;
DROP ROLE regress_lg_ann, regress_lg_bob, regress_lg_team, regress_lg_root;
