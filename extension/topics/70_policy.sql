-- Policies: which sessions, doing what harm, for how long, when in force, what
-- to do.  Here is the table and all that guards it.
--
-- What a row must be like is checked by triggers, ENABLE ALWAYS, so that INSERT,
-- UPDATE and COPY are held to it as the functions are: who may write it, what it
-- may say, how many there may be.  Two things only the functions refuse, because
-- a dump must come back anywhere: to manage policies in a database that is not
-- the home database (the table says so in a NOTICE), and to create one that
-- exists (the table's own key does that).  For the same reason an owner who does
-- not exist is no error in what a superuser writes; such a policy never acts.
--
-- The triggers run with the rights of whoever writes, so a role that manages
-- policies needs SELECT on the table besides what it writes with.  Whatever they
-- call may be executed by PUBLIC: it reads its arguments only.

CREATE TABLE lifeguard.policy (
	name text PRIMARY KEY,
	comment text,
	enabled boolean NOT NULL DEFAULT true,
	target text NOT NULL,
	min_duration interval NOT NULL,
	min_blocked integer,
	min_blocked_for interval,
	min_horizon_age integer,
	min_same_query integer,
	connections_above numeric,
	connections_until numeric,
	keep integer NOT NULL DEFAULT 0,
	databases text[],
	except_databases text[],
	roles text[],
	except_roles text[],
	applications text[],
	except_applications text[],
	clients text[],
	except_clients text[],
	queries text[],
	except_queries text[],
	gids text[],
	except_gids text[],
	schedule text NOT NULL DEFAULT '* * * * *',
	except_schedule text,
	time_zone text,
	action text NOT NULL DEFAULT 'log',
	grace interval,
	victim_order text NOT NULL DEFAULT 'longest',
	max_per_pass integer NOT NULL,
	max_per_minute integer NOT NULL,
	cooldown interval NOT NULL,
	include_lock_holders boolean NOT NULL DEFAULT false,
	include_listeners boolean NOT NULL DEFAULT false,
	runs_on text NOT NULL DEFAULT 'primary',
	include_superusers boolean NOT NULL DEFAULT false,
	owner name NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('lifeguard.policy', '');

COMMENT ON TABLE lifeguard.policy IS
'Which sessions, doing what harm, for how long, are acted on, when and how; all conditions given must hold.';
COMMENT ON COLUMN lifeguard.policy.name IS 'Name of the policy, up to 63 bytes';
COMMENT ON COLUMN lifeguard.policy.comment IS 'What it is for';
COMMENT ON COLUMN lifeguard.policy.enabled IS 'Whether it is in force at all; a policy with action log never acts either way';
COMMENT ON COLUMN lifeguard.policy.target IS 'What it looks at: idle in transaction (aborted too), idle, active, transaction, blocker (a root blocker), waiter, queued ddl, stalled client or prepared transaction';
COMMENT ON COLUMN lifeguard.policy.min_duration IS 'Acts when the age is greater: of the state (idle, idle in transaction, blocker, stalled client), the query (active), the transaction (transaction, prepared transaction) or the wait (waiter, queued ddl)';
COMMENT ON COLUMN lifeguard.policy.min_blocked IS 'Acts when at least so many sessions wait for it, directly or through others';
COMMENT ON COLUMN lifeguard.policy.min_blocked_for IS 'Acts when the longest wait it causes is longer';
COMMENT ON COLUMN lifeguard.policy.min_horizon_age IS 'Acts when the older of its xid and xmin is at least so many transactions old and it is the one that holds the horizon back';
COMMENT ON COLUMN lifeguard.policy.min_same_query IS 'Acts when at least so many sessions of one database run the same query id; active only';
COMMENT ON COLUMN lifeguard.policy.connections_above IS 'Acts when more than this share of the usable connection slots is taken, above 0 and up to 1';
COMMENT ON COLUMN lifeguard.policy.connections_until IS 'Having begun, goes on until less than this share is taken; NULL: the same as connections_above';
COMMENT ON COLUMN lifeguard.policy.keep IS 'Sessions left alone per database, role, application and client address; idle only';
COMMENT ON COLUMN lifeguard.policy.databases IS 'Only in these databases, by name; NULL: in any';
COMMENT ON COLUMN lifeguard.policy.except_databases IS 'Never in these databases';
COMMENT ON COLUMN lifeguard.policy.roles IS 'Only these roles and their members, by name; a superuser is a member only where granted';
COMMENT ON COLUMN lifeguard.policy.except_roles IS 'Never these roles or their members';
COMMENT ON COLUMN lifeguard.policy.applications IS 'Only where application_name matches one of these LIKE patterns';
COMMENT ON COLUMN lifeguard.policy.except_applications IS 'Never where application_name matches one of these; anybody may call itself anything';
COMMENT ON COLUMN lifeguard.policy.clients IS 'Only clients in these networks (cidr), or local for Unix sockets';
COMMENT ON COLUMN lifeguard.policy.except_clients IS 'Never clients in these networks, or local ones';
COMMENT ON COLUMN lifeguard.policy.queries IS 'Only where the last or running statement matches one of these LIKE patterns or, where an entry is an integer, has that query id';
COMMENT ON COLUMN lifeguard.policy.except_queries IS 'Never where the last or running statement matches one of these';
COMMENT ON COLUMN lifeguard.policy.gids IS 'Prepared transactions whose gid matches one of these LIKE patterns; those of logical replication (pg_gid_%) never do';
COMMENT ON COLUMN lifeguard.policy.except_gids IS 'Never prepared transactions whose gid matches one of these';
COMMENT ON COLUMN lifeguard.policy.schedule IS 'Cron expressions, separated by ;: in force during every minute that one of them matches';
COMMENT ON COLUMN lifeguard.policy.except_schedule IS 'Cron expressions: not in force during any minute that one of them matches';
COMMENT ON COLUMN lifeguard.policy.time_zone IS 'Zone of both schedules; NULL: whatever log_timezone is';
COMMENT ON COLUMN lifeguard.policy.action IS 'log, cancel, terminate (of a prepared transaction: roll it back) or cancel then terminate; cancel only where something runs';
COMMENT ON COLUMN lifeguard.policy.grace IS 'How long cancel then terminate waits between the two, 5 s unless given';
COMMENT ON COLUMN lifeguard.policy.victim_order IS 'Who comes first: longest, most blocking, youngest, or all but oldest';
COMMENT ON COLUMN lifeguard.policy.max_per_pass IS 'Actions in one pass, 0 for as many as needed; unless given 1, with connections_above or all but oldest 0';
COMMENT ON COLUMN lifeguard.policy.max_per_minute IS 'Actions in a minute, 0 for as many as needed; unless given 10, with connections_above or all but oldest 600';
COMMENT ON COLUMN lifeguard.policy.cooldown IS 'Pause after an action; unless given 2 s, with connections_above or all but oldest none';
COMMENT ON COLUMN lifeguard.policy.include_lock_holders IS 'Whether idle also means sessions that hold a heavyweight lock';
COMMENT ON COLUMN lifeguard.policy.include_listeners IS 'Whether idle also means sessions whose last statement was LISTEN; a later statement hides that they listen';
COMMENT ON COLUMN lifeguard.policy.runs_on IS 'primary, standby or both';
COMMENT ON COLUMN lifeguard.policy.include_superusers IS 'Whether superusers'' sessions may be victims, too; the owner must be superuser';
COMMENT ON COLUMN lifeguard.policy.owner IS 'Role with whose rights it acts, and whose rights are needed to change it';

-- ---------------------------------------------------------------------------
-- What is wrong with a row: pure functions of the row, no row when all is well
-- ---------------------------------------------------------------------------

CREATE FUNCTION lifeguard.policy_word_problems(
	p lifeguard.policy, OUT column_name text, OUT must text, OUT got text)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT c.column_name, c.must, c.got
	FROM (VALUES
		('target', p.target IS NULL OR p.target NOT IN ('idle in transaction', 'idle', 'active',
				'transaction', 'blocker', 'waiter', 'queued ddl', 'stalled client', 'prepared transaction'),
			'be one of "idle in transaction", "idle", "active", "transaction", "blocker", "waiter", "queued ddl", "stalled client", "prepared transaction"',
			p.target),
		('action', p.action IS NULL OR p.action NOT IN ('log', 'cancel', 'terminate', 'cancel then terminate'),
			'be one of "log", "cancel", "terminate", "cancel then terminate"', p.action),
		('victim_order', p.victim_order IS NULL
				OR p.victim_order NOT IN ('longest', 'most blocking', 'youngest', 'all but oldest'),
			'be one of "longest", "most blocking", "youngest", "all but oldest"', p.victim_order),
		('runs_on', p.runs_on IS NULL OR p.runs_on NOT IN ('primary', 'standby', 'both'),
			'be one of "primary", "standby", "both"', p.runs_on),
		('enabled', p.enabled IS NULL, 'be true or false', NULL),
		('include_lock_holders', p.include_lock_holders IS NULL, 'be true or false', NULL),
		('include_listeners', p.include_listeners IS NULL, 'be true or false', NULL),
		('include_superusers', p.include_superusers IS NULL, 'be true or false', NULL)
	) c (column_name, refused, must, got)
	WHERE c.refused;
$$;
COMMENT ON FUNCTION lifeguard.policy_word_problems(lifeguard.policy) IS
'Which columns of a policy hold a word that is none of theirs.';

CREATE FUNCTION lifeguard.policy_amount_problems(
	p lifeguard.policy, OUT column_name text, OUT must text, OUT got text)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	-- Ten years keep every duration a sensible number of microseconds, and infinity out.
	-- What counts is their number: '-1 year 361 days' compares as a day, and is none.
	SELECT c.column_name, c.must, c.got
	FROM (VALUES
		('min_duration', p.min_duration IS NULL OR extract(epoch FROM p.min_duration) < 0 OR p.min_duration > '10 years',
			'be an interval from 0 to 10 years', p.min_duration::text),
		('min_duration', extract(epoch FROM p.min_duration) = 0
				AND p.min_blocked IS NULL AND p.min_blocked_for IS NULL AND p.min_horizon_age IS NULL
				AND p.min_same_query IS NULL AND p.connections_above IS NULL,
			'be greater than 0 unless min_blocked, min_blocked_for, min_horizon_age, min_same_query or connections_above is given',
			p.min_duration::text),
		('min_blocked', p.min_blocked < 1, 'be at least 1', p.min_blocked::text),
		('min_blocked_for', extract(epoch FROM p.min_blocked_for) <= 0 OR p.min_blocked_for > '10 years',
			'be greater than 0 and at most 10 years', p.min_blocked_for::text),
		('min_horizon_age', p.min_horizon_age < 1, 'be at least 1', p.min_horizon_age::text),
		('min_same_query', p.min_same_query < 2, 'be at least 2', p.min_same_query::text),
		('connections_above', NOT (p.connections_above > 0 AND p.connections_above <= 1),
			'be a share of the usable connection slots, greater than 0 and at most 1', p.connections_above::text),
		('connections_until', NOT (p.connections_until > 0 AND p.connections_until <= 1),
			'be a share of the usable connection slots, greater than 0 and at most 1', p.connections_until::text),
		('connections_until', p.connections_until IS NOT NULL AND p.connections_above IS NULL,
			'be null unless connections_above is given', p.connections_until::text),
		('connections_until', p.connections_until > p.connections_above,
			format('be at most connections_above, which is %s', p.connections_above), p.connections_until::text),
		('keep', p.keep IS NULL OR p.keep < 0, 'be at least 0', p.keep::text),
		('max_per_pass', p.max_per_pass < 0, 'be at least 0, which stands for as many as needed', p.max_per_pass::text),
		('max_per_minute', p.max_per_minute < 0, 'be at least 0, which stands for as many as needed', p.max_per_minute::text),
		('cooldown', extract(epoch FROM p.cooldown) < 0 OR p.cooldown > '10 years',
			'be an interval from 0 to 10 years', p.cooldown::text),
		('grace', extract(epoch FROM p.grace) <= 0 OR p.grace > '10 years',
			'be greater than 0 and at most 10 years', p.grace::text)
	) c (column_name, refused, must, got)
	WHERE c.refused;
$$;
COMMENT ON FUNCTION lifeguard.policy_amount_problems(lifeguard.policy) IS
'Which columns of a policy hold an amount out of bounds.';

CREATE FUNCTION lifeguard.policy_fit_problems(
	p lifeguard.policy, OUT column_name text, OUT must text, OUT got text)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT c.column_name, c.must, c.got
	FROM (VALUES
		('action', p.action IN ('cancel', 'cancel then terminate')
				AND p.target IN ('idle', 'idle in transaction', 'stalled client', 'prepared transaction'),
			format('be "log" or "terminate" when target is "%s", where no statement runs that could be cancelled', p.target),
			p.action),
		('grace', p.grace IS NOT NULL AND p.action <> 'cancel then terminate',
			'be null unless action is "cancel then terminate"', p.grace::text),
		('min_horizon_age', p.min_horizon_age IS NOT NULL AND p.target = 'idle',
			'be null when target is "idle", which is in no transaction', p.min_horizon_age::text),
		('min_same_query', p.min_same_query IS NOT NULL AND p.target <> 'active',
			'be null unless target is "active"', p.min_same_query::text),
		('keep', p.keep <> 0 AND p.target <> 'idle',
			'be 0 unless target is "idle"', p.keep::text),
		('include_lock_holders', p.include_lock_holders AND p.target <> 'idle',
			'be false unless target is "idle"; no other target spares lock holders', 'true'),
		('include_listeners', p.include_listeners AND p.target <> 'idle',
			'be false unless target is "idle"; no other target spares listeners', 'true'),
		('gids', p.gids IS NULL AND p.target = 'prepared transaction',
			'be given when target is "prepared transaction"', NULL),
		('gids', p.gids IS NOT NULL AND p.target <> 'prepared transaction',
			'be null unless target is "prepared transaction"', p.gids::text),
		('except_gids', p.except_gids IS NOT NULL AND p.target <> 'prepared transaction',
			'be null unless target is "prepared transaction"', p.except_gids::text),
		-- a prepared transaction has a role and a database, and no session any more
		('applications', p.applications IS NOT NULL AND p.target = 'prepared transaction',
			'be null when target is "prepared transaction", which has no session', p.applications::text),
		('except_applications', p.except_applications IS NOT NULL AND p.target = 'prepared transaction',
			'be null when target is "prepared transaction", which has no session', p.except_applications::text),
		('clients', p.clients IS NOT NULL AND p.target = 'prepared transaction',
			'be null when target is "prepared transaction", which has no session', p.clients::text),
		('except_clients', p.except_clients IS NOT NULL AND p.target = 'prepared transaction',
			'be null when target is "prepared transaction", which has no session', p.except_clients::text),
		('queries', p.queries IS NOT NULL AND p.target = 'prepared transaction',
			'be null when target is "prepared transaction", which has no session', p.queries::text),
		('except_queries', p.except_queries IS NOT NULL AND p.target = 'prepared transaction',
			'be null when target is "prepared transaction", which has no session', p.except_queries::text),
		('runs_on', p.runs_on = 'standby' AND p.target IN ('prepared transaction', 'queued ddl'),
			format('be "primary" or "both" when target is "%s", which no standby has', p.target), p.runs_on)
	) c (column_name, refused, must, got)
	WHERE c.refused;
$$;
COMMENT ON FUNCTION lifeguard.policy_fit_problems(lifeguard.policy) IS
'Which columns of a policy say what does not go with its target or action.';

-- pg_input_is_valid() would do, from PostgreSQL 16 on.
CREATE FUNCTION lifeguard.is_network(entry text) RETURNS boolean
LANGUAGE plpgsql STRICT IMMUTABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM entry::cidr;
	RETURN true;
EXCEPTION WHEN data_exception THEN
	RETURN false;
END
$$;
COMMENT ON FUNCTION lifeguard.is_network(text) IS
'Whether a text is an address or a network that cidr takes.';

CREATE FUNCTION lifeguard.policy_filter_problems(
	p lifeguard.policy, OUT column_name text, OUT must text, OUT got text)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
	WITH filters (column_name, kind, entries) AS (VALUES
		('databases', 'name', p.databases), ('except_databases', 'name', p.except_databases),
		('roles', 'name', p.roles), ('except_roles', 'name', p.except_roles),
		('applications', 'pattern', p.applications), ('except_applications', 'pattern', p.except_applications),
		('clients', 'client', p.clients), ('except_clients', 'client', p.except_clients),
		('queries', 'query', p.queries), ('except_queries', 'query', p.except_queries),
		('gids', 'gid', p.gids), ('except_gids', 'pattern', p.except_gids))
	SELECT f.column_name, 'be null or a list of at least one entry, in one dimension', f.entries::text
	FROM filters f
	WHERE cardinality(f.entries) = 0 OR array_ndims(f.entries) > 1
	UNION ALL
	SELECT f.column_name, m.must, e.entry
	FROM filters f
		CROSS JOIN LATERAL unnest(f.entries) e (entry)
		CROSS JOIN LATERAL (SELECT
			CASE
				WHEN e.entry IS NULL THEN 'have no null entry'
				WHEN f.kind = 'name' THEN
					CASE WHEN octet_length(e.entry) NOT BETWEEN 1 AND 63
						THEN 'have names of 1 to 63 bytes as entries' END
				WHEN f.kind = 'client' THEN
					CASE WHEN e.entry <> 'local' AND NOT lifeguard.is_network(e.entry)
						THEN 'have addresses, networks as cidr takes them, or "local" as entries' END
				WHEN f.kind = 'query' AND e.entry = '' THEN 'have no empty entry'
				WHEN f.kind = 'query' AND e.entry ~ '^[-+]?[0-9]+$' THEN
					CASE WHEN e.entry::numeric = 0
							OR e.entry::numeric NOT BETWEEN -9223372036854775808 AND 9223372036854775807
						THEN 'have LIKE patterns or query ids as entries, and an integer is a query id: not 0 and of 64 bits' END
				WHEN f.kind = 'gid' AND e.entry = '' THEN 'have no empty entry'
				WHEN f.kind = 'gid' AND starts_with(replace(e.entry, E'\\', ''), 'pg_gid_') THEN
					'not name prepared transactions of logical replication (pg_gid_%), which are never acted on'
				-- LIKE raises an error where its escape character has nothing to escape
				WHEN (octet_length(e.entry) - octet_length(rtrim(e.entry, E'\\'))) % 2 = 1 THEN
					'have no entry that ends in a single backslash'
			END) m (must)
	WHERE m.must IS NOT NULL;
$$;
COMMENT ON FUNCTION lifeguard.policy_filter_problems(lifeguard.policy) IS
'Which entries of a policy''s filters are not what they have to be.';

CREATE FUNCTION lifeguard.policy_time_problems(
	p lifeguard.policy, OUT column_name text, OUT must text, OUT got text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	SELECT c.col, c.must, c.got INTO column_name, must, got
	FROM (VALUES
		('schedule', p.schedule IS NULL, 'be given', NULL),
		('schedule', true, lifeguard.check_schedule(p.schedule), p.schedule),
		('except_schedule', true, lifeguard.check_schedule(p.except_schedule), p.except_schedule)
	) c (col, refused, must, got)
	WHERE c.refused AND c.must IS NOT NULL
	LIMIT 1;
	IF FOUND THEN
		IF got IS NOT NULL THEN
			must := 'be cron expressions of five fields, separated by ";": ' || must;
		END IF;
		RETURN NEXT;
		RETURN;
	END IF;

	-- Asked of the very code that will use it, besides the server.
	IF p.time_zone IS NOT NULL THEN
		BEGIN
			PERFORM now() AT TIME ZONE p.time_zone,
				lifeguard.schedule_in_force('* * * * *', NULL, p.time_zone, now());
		EXCEPTION WHEN data_exception THEN
			column_name := 'time_zone';
			must := 'be a time zone that pg_timezone_names knows, or null for log_timezone';
			got := p.time_zone;
			RETURN NEXT;
		END;
	END IF;
END
$$;
COMMENT ON FUNCTION lifeguard.policy_time_problems(lifeguard.policy) IS
'What is wrong with a policy''s schedules and time zone.';

CREATE FUNCTION lifeguard.policy_size_problems(
	p lifeguard.policy, OUT column_name text, OUT must text, OUT got text)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	-- as text, not as stored: whether a row fits must not depend on compression
	SELECT v.key, 'be shorter: a policy has at most 8192 bytes in all',
		format('%s bytes of %s', v.size, v.total)
	FROM (SELECT key, octet_length(value) AS size, sum(octet_length(value)) OVER () AS total
		  FROM jsonb_each_text(to_jsonb(p))) v
	WHERE v.total > 8192 AND v.size IS NOT NULL
	ORDER BY v.size DESC, v.key COLLATE "C"
	LIMIT 1;
$$;
COMMENT ON FUNCTION lifeguard.policy_size_problems(lifeguard.policy) IS
'The longest column of a policy that is too long in all.';

CREATE FUNCTION lifeguard.policy_problems(
	p lifeguard.policy, OUT column_name text, OUT must text, OUT got text)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'name', 'have 1 to 63 bytes, not only blanks, and no control character',
		left(regexp_replace(p.name, '[[:cntrl:]]', '?', 'g'), 70)
	WHERE p.name IS NULL OR btrim(p.name) = '' OR octet_length(p.name) > 63
		OR p.name COLLATE "C" ~ '[[:cntrl:]]'
	UNION ALL SELECT f.* FROM lifeguard.policy_word_problems(p) f
	UNION ALL SELECT f.* FROM lifeguard.policy_amount_problems(p) f
	UNION ALL SELECT f.* FROM lifeguard.policy_fit_problems(p) f
	UNION ALL SELECT f.* FROM lifeguard.policy_filter_problems(p) f
	UNION ALL SELECT f.* FROM lifeguard.policy_time_problems(p) f
	UNION ALL SELECT f.* FROM lifeguard.policy_size_problems(p) f;
$$;
COMMENT ON FUNCTION lifeguard.policy_problems(lifeguard.policy) IS
'What is wrong with a policy, column by column: what each must do, and what it is instead; no row when it may be stored.';

-- Settings of the library, which may be older than the catalog or not loaded.
CREATE FUNCTION lifeguard.home_database() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(nullif(current_setting('pg_lifeguard.database', true), ''), 'postgres');
$$;
COMMENT ON FUNCTION lifeguard.home_database() IS
'The database whose policies are in force and whose tables remember: pg_lifeguard.database.';

-- ---------------------------------------------------------------------------
-- The triggers, in the order of their names
-- ---------------------------------------------------------------------------

CREATE FUNCTION lifeguard.policy_check_owner() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	mighty boolean := (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user);
	holder record;
	rightful name;
BEGIN
	-- Of a superuser's rights only a superuser has them all: membership does
	-- not give what makes a superuser.
	IF TG_OP <> 'INSERT' AND NOT mighty THEN
		SELECT r.oid, r.rolsuper INTO holder FROM pg_roles r WHERE r.rolname = OLD.owner;
		IF NOT FOUND THEN
			RAISE insufficient_privilege USING
				MESSAGE = format('only a superuser may change or drop policy "%s"', OLD.name),
				DETAIL = format('Its owner, role "%s", does not exist.', OLD.owner),
				SCHEMA = 'lifeguard', TABLE = 'policy', COLUMN = 'owner';
		ELSIF holder.rolsuper OR NOT pg_has_role(current_user, holder.oid, 'USAGE') THEN
			RAISE insufficient_privilege USING
				MESSAGE = format('must be owner of policy "%s"', OLD.name),
				DETAIL = format('It belongs to role "%s".', OLD.owner),
				SCHEMA = 'lifeguard', TABLE = 'policy', COLUMN = 'owner';
		END IF;
	END IF;
	IF TG_OP = 'DELETE' THEN
		RETURN OLD;
	END IF;

	IF TG_OP = 'INSERT' THEN
		rightful := current_user;
		NEW.owner := coalesce(NEW.owner, rightful);
	ELSE
		rightful := OLD.owner;
	END IF;
	IF NOT mighty AND NEW.owner IS DISTINCT FROM rightful THEN
		RAISE insufficient_privilege USING
			MESSAGE = 'only a superuser may give a policy to another role',
			DETAIL = format('Column "owner" must be "%s".', rightful),
			SCHEMA = 'lifeguard', TABLE = 'policy', COLUMN = 'owner';
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION lifeguard.policy_check_owner() IS
'Trigger: sets the owner of a new policy, and asks for the owner''s rights to change or drop one.';

CREATE FUNCTION lifeguard.policy_fill() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	-- Closing many sessions is the purpose there: no limits unless given.
	many boolean := NEW.connections_above IS NOT NULL OR NEW.victim_order IS NOT DISTINCT FROM 'all but oldest';
BEGIN
	-- A grace belongs to its escalation: it comes and goes with it.
	IF NEW.action = 'cancel then terminate' THEN
		NEW.grace := coalesce(NEW.grace, '5 s');
	ELSIF TG_OP = 'UPDATE' AND OLD.action = 'cancel then terminate' AND NEW.grace = OLD.grace THEN
		NEW.grace := NULL;
	END IF;

	-- What was given or filled in before stays when the reason for it changes:
	-- limits never get looser by themselves.
	NEW.max_per_pass := coalesce(NEW.max_per_pass, CASE WHEN many THEN 0 ELSE 1 END);
	NEW.max_per_minute := coalesce(NEW.max_per_minute, CASE WHEN many THEN 600 ELSE 10 END);
	NEW.cooldown := coalesce(NEW.cooldown, CASE WHEN many THEN interval '0' ELSE interval '2 s' END);
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION lifeguard.policy_fill() IS
'Trigger: fills in grace and limits where they are NULL.';

CREATE FUNCTION lifeguard.policy_check() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	problem record;
	sentence text;
	given text;
BEGIN
	SELECT p.* INTO problem FROM lifeguard.policy_problems(NEW) p LIMIT 1;
	IF FOUND THEN
		sentence := format('column "%s" of policy%s must %s', problem.column_name,
						   ' "' || CASE WHEN problem.column_name <> 'name' THEN NEW.name END || '"',
						   problem.must);
		given := coalesce('It is "' || left(problem.got, 200) || '".', 'It is null.');
		IF problem.column_name IN ('schedule', 'except_schedule') THEN
			RAISE check_violation USING MESSAGE = sentence, DETAIL = given,
				HINT = 'The fields are minute, hour, day of month, month and weekday; "0 0 * * *" is the first minute of each day.',
				SCHEMA = 'lifeguard', TABLE = 'policy', COLUMN = problem.column_name;
		END IF;
		RAISE check_violation USING MESSAGE = sentence, DETAIL = given,
			SCHEMA = 'lifeguard', TABLE = 'policy', COLUMN = problem.column_name;
	END IF;
	IF NEW.owner IS NULL THEN
		RAISE check_violation USING
			MESSAGE = format('column "owner" of policy "%s" must be a role', NEW.name),
			DETAIL = 'It is null.',
			SCHEMA = 'lifeguard', TABLE = 'policy', COLUMN = 'owner';
	END IF;
	-- An owner who is gone is nobody's superuser, but a dump must come back.
	IF NEW.include_superusers
		AND EXISTS (SELECT FROM pg_roles r WHERE r.rolname = NEW.owner AND NOT r.rolsuper)
	THEN
		RAISE insufficient_privilege USING
			MESSAGE = format('column "include_superusers" of policy "%s" must be false unless its owner is superuser', NEW.name),
			DETAIL = format('It belongs to role "%s".', NEW.owner),
			SCHEMA = 'lifeguard', TABLE = 'policy', COLUMN = 'include_superusers';
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION lifeguard.policy_check() IS
'Trigger: refuses the first of policy_problems().';

CREATE FUNCTION lifeguard.policy_check_number() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	most integer := coalesce(nullif(current_setting('pg_lifeguard.max_policies', true), ''), '64');
BEGIN
	IF (SELECT count(*) FROM ONLY lifeguard.policy) > most THEN
		RAISE configuration_limit_exceeded USING
			MESSAGE = format('cannot store policy "%s": there are %s already', NEW.name, most),
			HINT = 'Drop one, or raise pg_lifeguard.max_policies and restart the server.',
			SCHEMA = 'lifeguard', TABLE = 'policy', COLUMN = 'name';
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION lifeguard.policy_check_number() IS
'Trigger: keeps the number of policies at pg_lifeguard.max_policies.';

CREATE FUNCTION lifeguard.policy_log() RETURNS trigger
AS 'MODULE_PATHNAME', 'pg_lifeguard_policy_log'
LANGUAGE C SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION lifeguard.policy_log() IS
'Trigger: leaves one line in the server log for each policy created, armed, changed or dropped, when that is committed.';

CREATE FUNCTION lifeguard.policy_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'pg_lifeguard_policy_changed'
LANGUAGE C SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION lifeguard.policy_changed() IS
'Trigger: tells the collector that policies of the home database have changed, when that is committed.';

CREATE FUNCTION lifeguard.policy_remark() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	fresh boolean := TG_OP = 'INSERT';
	missing text;
BEGIN
	IF (fresh OR NEW.owner <> OLD.owner)
		AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = NEW.owner)
	THEN
		RAISE WARNING 'policy "%" never acts: its owner, role "%", does not exist', NEW.name, NEW.owner;
	END IF;

	-- A misspelt name in an exception would cost a session its life.
	SELECT string_agg(DISTINCT format('"%s"', e.entry), ', ') INTO missing
	FROM unnest(NEW.roles || NEW.except_roles) e (entry)
	WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = e.entry);
	IF missing IS NOT NULL AND (fresh OR (NEW.roles, NEW.except_roles) IS DISTINCT FROM (OLD.roles, OLD.except_roles)) THEN
		RAISE NOTICE 'policy "%" names roles that do not exist: %', NEW.name, missing;
	END IF;
	SELECT string_agg(DISTINCT format('"%s"', e.entry), ', ') INTO missing
	FROM unnest(NEW.databases || NEW.except_databases) e (entry)
	WHERE NOT EXISTS (SELECT FROM pg_database d WHERE d.datname = e.entry);
	IF missing IS NOT NULL AND (fresh OR (NEW.databases, NEW.except_databases) IS DISTINCT FROM (OLD.databases, OLD.except_databases)) THEN
		RAISE NOTICE 'policy "%" names databases that do not exist: %', NEW.name, missing;
	END IF;

	-- "auto" computes query ids once a module asks for them, which no setting
	-- tells; whether this very statement has one does.
	IF (NEW.min_same_query IS NOT NULL
		OR EXISTS (SELECT FROM unnest(NEW.queries || NEW.except_queries) e (entry) WHERE e.entry ~ '^[-+]?[0-9]+$'))
		AND (fresh OR (NEW.min_same_query, NEW.queries, NEW.except_queries)
					  IS DISTINCT FROM (OLD.min_same_query, OLD.queries, OLD.except_queries))
		AND (current_setting('compute_query_id') = 'off'
			 OR (current_setting('compute_query_id') <> 'on'
				 AND NOT EXISTS (SELECT FROM pg_stat_activity a
								 WHERE a.pid = pg_backend_pid() AND a.query_id IS NOT NULL)))
	THEN
		RAISE NOTICE USING
			MESSAGE = format('policy "%s" needs query ids, which are not computed here', NEW.name),
			HINT = 'Set compute_query_id to on, or load a module that computes them, such as pg_stat_statements.';
	END IF;

	IF (fresh OR (NEW.schedule, NEW.except_schedule, NEW.time_zone)
				 IS DISTINCT FROM (OLD.schedule, OLD.except_schedule, OLD.time_zone))
		AND (NEW.schedule <> '* * * * *' OR NEW.except_schedule IS NOT NULL)
		AND lifeguard.schedule_next(NEW.schedule, NEW.except_schedule,
				coalesce(NEW.time_zone, current_setting('log_timezone')), now()) IS NULL
	THEN
		RAISE NOTICE 'policy "%" is never in force: its schedule and except_schedule leave no minute', NEW.name;
	END IF;

	-- Not made looser or tighter behind anybody's back, but said.
	IF TG_OP = 'UPDATE'
		AND (NEW.connections_above IS NOT NULL OR NEW.victim_order = 'all but oldest')
			<> (OLD.connections_above IS NOT NULL OR OLD.victim_order = 'all but oldest')
		AND (NEW.max_per_pass, NEW.max_per_minute, NEW.cooldown) = (OLD.max_per_pass, OLD.max_per_minute, OLD.cooldown)
	THEN
		RAISE NOTICE USING
			MESSAGE = format('limits of policy "%s" stay as they are: max_per_pass %s, max_per_minute %s, cooldown %s',
							 NEW.name, NEW.max_per_pass, NEW.max_per_minute, NEW.cooldown),
			HINT = format('SELECT lifeguard.alter_policy(%L, reset => ''{max_per_pass,max_per_minute,cooldown}'') sets the defaults that go with connections_above and "all but oldest".', NEW.name);
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION lifeguard.policy_remark() IS
'Trigger: says what is allowed in a policy and yet hardly meant.';

CREATE FUNCTION lifeguard.policy_elsewhere() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF current_database() <> lifeguard.home_database() THEN
		RAISE NOTICE USING
			MESSAGE = format('policies in database "%s" are not in force', current_database()),
			DETAIL = format('The home database of pg_lifeguard is "%s".', lifeguard.home_database());
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION lifeguard.policy_elsewhere() IS
'Trigger: says that policies outside the home database do nothing.';

CREATE FUNCTION lifeguard.policy_truncate() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
		RAISE insufficient_privilege USING
			MESSAGE = 'only a superuser may truncate lifeguard.policy',
			HINT = 'Use lifeguard.drop_policy() or DELETE, which ask for the owner''s rights.';
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION lifeguard.policy_truncate() IS
'Trigger: leaves TRUNCATE to superusers.';

CREATE TRIGGER policy_1_check_owner BEFORE INSERT OR UPDATE OR DELETE ON lifeguard.policy
	FOR EACH ROW EXECUTE FUNCTION lifeguard.policy_check_owner();
CREATE TRIGGER policy_2_fill BEFORE INSERT OR UPDATE ON lifeguard.policy
	FOR EACH ROW EXECUTE FUNCTION lifeguard.policy_fill();
CREATE TRIGGER policy_3_check BEFORE INSERT OR UPDATE ON lifeguard.policy
	FOR EACH ROW EXECUTE FUNCTION lifeguard.policy_check();
CREATE TRIGGER policy_4_check_number AFTER INSERT ON lifeguard.policy
	FOR EACH ROW EXECUTE FUNCTION lifeguard.policy_check_number();
CREATE TRIGGER policy_5_log AFTER INSERT OR UPDATE OR DELETE ON lifeguard.policy
	FOR EACH ROW EXECUTE FUNCTION lifeguard.policy_log();
CREATE TRIGGER policy_6_remark AFTER INSERT OR UPDATE ON lifeguard.policy
	FOR EACH ROW EXECUTE FUNCTION lifeguard.policy_remark();
CREATE TRIGGER policy_7_elsewhere AFTER INSERT OR UPDATE ON lifeguard.policy
	FOR EACH STATEMENT EXECUTE FUNCTION lifeguard.policy_elsewhere();
CREATE TRIGGER policy_8_truncate BEFORE TRUNCATE ON lifeguard.policy
	FOR EACH STATEMENT EXECUTE FUNCTION lifeguard.policy_truncate();
CREATE TRIGGER policy_9_log_truncate BEFORE TRUNCATE ON lifeguard.policy
	FOR EACH STATEMENT EXECUTE FUNCTION lifeguard.policy_log();
CREATE TRIGGER policy_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifeguard.policy
	FOR EACH STATEMENT EXECUTE FUNCTION lifeguard.policy_changed();
-- whatever session_replication_role says
ALTER TABLE lifeguard.policy
	ENABLE ALWAYS TRIGGER policy_1_check_owner,
	ENABLE ALWAYS TRIGGER policy_2_fill,
	ENABLE ALWAYS TRIGGER policy_3_check,
	ENABLE ALWAYS TRIGGER policy_4_check_number,
	ENABLE ALWAYS TRIGGER policy_5_log,
	ENABLE ALWAYS TRIGGER policy_6_remark,
	ENABLE ALWAYS TRIGGER policy_7_elsewhere,
	ENABLE ALWAYS TRIGGER policy_8_truncate,
	ENABLE ALWAYS TRIGGER policy_9_log_truncate,
	ENABLE ALWAYS TRIGGER policy_changed;

REVOKE ALL ON TABLE lifeguard.policy FROM PUBLIC;
-- who may see every session and every ledger row may see why; without SELECT,
-- pg_dump by an ordinary role fails in this database
GRANT SELECT ON TABLE lifeguard.policy TO pg_read_all_stats;
REVOKE ALL ON FUNCTION lifeguard.policy_check_owner(), lifeguard.policy_fill(), lifeguard.policy_check(),
	lifeguard.policy_check_number(), lifeguard.policy_log(), lifeguard.policy_remark(),
	lifeguard.policy_elsewhere(), lifeguard.policy_truncate(), lifeguard.policy_changed()
	FROM PUBLIC;
REVOKE ALL ON FUNCTION lifeguard.home_database(), lifeguard.is_network(text),
	lifeguard.policy_problems(lifeguard.policy), lifeguard.policy_word_problems(lifeguard.policy),
	lifeguard.policy_amount_problems(lifeguard.policy), lifeguard.policy_fit_problems(lifeguard.policy),
	lifeguard.policy_filter_problems(lifeguard.policy), lifeguard.policy_time_problems(lifeguard.policy),
	lifeguard.policy_size_problems(lifeguard.policy)
	FROM PUBLIC;
-- the triggers call them with the rights of whoever writes a policy
GRANT EXECUTE ON FUNCTION lifeguard.home_database(), lifeguard.is_network(text),
	lifeguard.policy_problems(lifeguard.policy), lifeguard.policy_word_problems(lifeguard.policy),
	lifeguard.policy_amount_problems(lifeguard.policy), lifeguard.policy_fit_problems(lifeguard.policy),
	lifeguard.policy_filter_problems(lifeguard.policy), lifeguard.policy_time_problems(lifeguard.policy),
	lifeguard.policy_size_problems(lifeguard.policy)
	TO PUBLIC;

-- Outside the home database a NOTICE says so, once; so it needs no function that stays.
CREATE FUNCTION lifeguard.announce_home_database() RETURNS void
AS 'MODULE_PATHNAME', 'pg_lifeguard_announce_home_database' LANGUAGE C;
SELECT lifeguard.announce_home_database();
DROP FUNCTION lifeguard.announce_home_database();
