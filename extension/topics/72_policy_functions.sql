-- Policies by function: named arguments, and errors that say what to do.  They
-- run with their caller's rights: the table's rights and triggers decide.

CREATE FUNCTION lifeguard.require_home_database() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF current_database() <> lifeguard.home_database() THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = format('policies are managed in database "%s"', lifeguard.home_database()),
			DETAIL = format('This is database "%s"; policies stored here would never be in force.', current_database()),
			HINT = format('Connect to that one, or make this one the home database: ALTER SYSTEM SET pg_lifeguard.database = %L; SELECT pg_reload_conf();',
						  current_database());
	END IF;
END
$$;
COMMENT ON FUNCTION lifeguard.require_home_database() IS
'Raises an error outside the home database.';

CREATE FUNCTION lifeguard.require_policy(name text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF require_policy.name IS NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'name of the policy must not be null';
	END IF;
	IF NOT EXISTS (SELECT FROM ONLY lifeguard.policy p WHERE p.name = require_policy.name) THEN
		RAISE undefined_object USING
			MESSAGE = format('policy "%s" does not exist', left(require_policy.name, 63)),
			HINT = 'SELECT name FROM lifeguard.policy shows those that do.';
	END IF;
END
$$;
COMMENT ON FUNCTION lifeguard.require_policy(text) IS
'Raises an error when there is no such policy.';

CREATE FUNCTION lifeguard.create_policy(
	name text,
	target text DEFAULT NULL,
	min_duration interval DEFAULT NULL,
	comment text DEFAULT NULL,
	enabled boolean DEFAULT true,
	min_blocked integer DEFAULT NULL,
	min_blocked_for interval DEFAULT NULL,
	min_horizon_age integer DEFAULT NULL,
	min_same_query integer DEFAULT NULL,
	connections_above numeric DEFAULT NULL,
	connections_until numeric DEFAULT NULL,
	keep integer DEFAULT 0,
	databases text[] DEFAULT NULL,
	except_databases text[] DEFAULT NULL,
	roles text[] DEFAULT NULL,
	except_roles text[] DEFAULT NULL,
	applications text[] DEFAULT NULL,
	except_applications text[] DEFAULT NULL,
	clients text[] DEFAULT NULL,
	except_clients text[] DEFAULT NULL,
	queries text[] DEFAULT NULL,
	except_queries text[] DEFAULT NULL,
	gids text[] DEFAULT NULL,
	except_gids text[] DEFAULT NULL,
	schedule text DEFAULT '* * * * *',
	except_schedule text DEFAULT NULL,
	time_zone text DEFAULT NULL,
	action text DEFAULT 'log',
	grace interval DEFAULT NULL,
	victim_order text DEFAULT 'longest',
	max_per_pass integer DEFAULT NULL,
	max_per_minute integer DEFAULT NULL,
	cooldown interval DEFAULT NULL,
	include_lock_holders boolean DEFAULT false,
	include_listeners boolean DEFAULT false,
	runs_on text DEFAULT 'primary',
	include_superusers boolean DEFAULT false,
	owner name DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM lifeguard.require_home_database();
	IF EXISTS (SELECT FROM ONLY lifeguard.policy p WHERE p.name = create_policy.name) THEN
		RAISE duplicate_object USING
			MESSAGE = format('policy "%s" already exists', create_policy.name),
			HINT = 'lifeguard.alter_policy() changes it, lifeguard.drop_policy() drops it.';
	END IF;
	INSERT INTO lifeguard.policy (name, comment, enabled, target, min_duration,
		min_blocked, min_blocked_for, min_horizon_age, min_same_query,
		connections_above, connections_until, keep,
		databases, except_databases, roles, except_roles,
		applications, except_applications, clients, except_clients,
		queries, except_queries, gids, except_gids,
		schedule, except_schedule, time_zone, action, grace, victim_order,
		max_per_pass, max_per_minute, cooldown,
		include_lock_holders, include_listeners, runs_on, include_superusers, owner)
	VALUES (name, comment, enabled, target, min_duration,
		min_blocked, min_blocked_for, min_horizon_age, min_same_query,
		connections_above, connections_until, keep,
		databases, except_databases, roles, except_roles,
		applications, except_applications, clients, except_clients,
		queries, except_queries, gids, except_gids,
		schedule, except_schedule, time_zone, action, grace, victim_order,
		max_per_pass, max_per_minute, cooldown,
		include_lock_holders, include_listeners, runs_on, include_superusers, owner);
END
$$;
COMMENT ON FUNCTION lifeguard.create_policy IS
'Creates a policy; arguments are the columns of lifeguard.policy. Name, target and min_duration are required; unless told otherwise it only logs.';

CREATE FUNCTION lifeguard.alter_policy(
	name text,
	target text DEFAULT NULL,
	min_duration interval DEFAULT NULL,
	comment text DEFAULT NULL,
	enabled boolean DEFAULT NULL,
	min_blocked integer DEFAULT NULL,
	min_blocked_for interval DEFAULT NULL,
	min_horizon_age integer DEFAULT NULL,
	min_same_query integer DEFAULT NULL,
	connections_above numeric DEFAULT NULL,
	connections_until numeric DEFAULT NULL,
	keep integer DEFAULT NULL,
	databases text[] DEFAULT NULL,
	except_databases text[] DEFAULT NULL,
	roles text[] DEFAULT NULL,
	except_roles text[] DEFAULT NULL,
	applications text[] DEFAULT NULL,
	except_applications text[] DEFAULT NULL,
	clients text[] DEFAULT NULL,
	except_clients text[] DEFAULT NULL,
	queries text[] DEFAULT NULL,
	except_queries text[] DEFAULT NULL,
	gids text[] DEFAULT NULL,
	except_gids text[] DEFAULT NULL,
	schedule text DEFAULT NULL,
	except_schedule text DEFAULT NULL,
	time_zone text DEFAULT NULL,
	action text DEFAULT NULL,
	grace interval DEFAULT NULL,
	victim_order text DEFAULT NULL,
	max_per_pass integer DEFAULT NULL,
	max_per_minute integer DEFAULT NULL,
	cooldown interval DEFAULT NULL,
	include_lock_holders boolean DEFAULT NULL,
	include_listeners boolean DEFAULT NULL,
	runs_on text DEFAULT NULL,
	include_superusers boolean DEFAULT NULL,
	owner name DEFAULT NULL,
	reset text[] DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET IntervalStyle = postgres AS $$
DECLARE
	-- every column that an argument names, with its value
	given jsonb := (SELECT jsonb_strip_nulls(to_jsonb(g)) FROM (SELECT
		target, min_duration, comment, enabled, min_blocked, min_blocked_for, min_horizon_age,
		min_same_query, connections_above, connections_until, keep,
		databases, except_databases, roles, except_roles, applications, except_applications,
		clients, except_clients, queries, except_queries, gids, except_gids,
		schedule, except_schedule, time_zone, action, grace, victim_order,
		max_per_pass, max_per_minute, cooldown, include_lock_holders, include_listeners,
		runs_on, include_superusers, owner) g);
	entry text;
	changes text;
BEGIN
	PERFORM lifeguard.require_home_database();
	PERFORM lifeguard.require_policy(name);

	FOREACH entry IN ARRAY coalesce(reset, '{}') LOOP
		IF entry IS NULL THEN
			RAISE null_value_not_allowed USING MESSAGE = 'reset must not contain nulls';
		ELSIF entry IN ('name', 'target', 'min_duration', 'owner') THEN
			RAISE invalid_parameter_value USING
				MESSAGE = format('cannot reset column "%s": it has no default', entry), COLUMN = entry;
		ELSIF given ? entry THEN
			RAISE invalid_parameter_value USING
				MESSAGE = format('column "%s" is both given and reset', entry), COLUMN = entry;
		ELSIF NOT EXISTS (SELECT FROM pg_attribute a
						  WHERE a.attrelid = 'lifeguard.policy'::regclass
							AND a.attname = entry AND a.attnum > 0 AND NOT a.attisdropped) THEN
			RAISE undefined_column USING
				MESSAGE = format('cannot reset "%s": policies have no such column', entry),
				HINT = 'The arguments of lifeguard.alter_policy() are the columns of a policy.';
		END IF;
	END LOOP;

	SELECT string_agg(c.change, ', ') INTO changes
	FROM (SELECT format('%1$I = ($1).%1$I', k.key) FROM jsonb_object_keys(given) k (key)
		  UNION
		  SELECT format('%I = DEFAULT', r.entry) FROM unnest(reset) r (entry)) c (change);
	IF changes IS NOT NULL THEN
		EXECUTE 'UPDATE lifeguard.policy SET ' || changes || ' WHERE name = $2'
			USING jsonb_populate_record(NULL::lifeguard.policy, given), name;
	END IF;
END
$$;
COMMENT ON FUNCTION lifeguard.alter_policy IS
'Changes a policy: what is not named, or is NULL, stays as it is; columns listed in reset get their defaults back.';

CREATE FUNCTION lifeguard.enable_policy(name text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM lifeguard.require_home_database();
	PERFORM lifeguard.require_policy(name);
	UPDATE lifeguard.policy p SET enabled = true WHERE p.name = enable_policy.name;
END
$$;
COMMENT ON FUNCTION lifeguard.enable_policy(text) IS
'Puts a policy in force, within a second of COMMIT.';

CREATE FUNCTION lifeguard.disable_policy(name text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM lifeguard.require_home_database();
	PERFORM lifeguard.require_policy(name);
	UPDATE lifeguard.policy p SET enabled = false WHERE p.name = disable_policy.name;
END
$$;
COMMENT ON FUNCTION lifeguard.disable_policy(text) IS
'Takes a policy out of force and keeps it, within a second of COMMIT.';

CREATE FUNCTION lifeguard.drop_policy(name text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM lifeguard.require_home_database();
	PERFORM lifeguard.require_policy(name);
	DELETE FROM lifeguard.policy p WHERE p.name = drop_policy.name;
END
$$;
COMMENT ON FUNCTION lifeguard.drop_policy(text) IS
'Drops a policy; the ledger keeps what it did.';

CREATE FUNCTION lifeguard.next_in_force(name text, after timestamptz DEFAULT now()) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM lifeguard.require_policy(name);
	IF after IS NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'argument "after" must not be null';
	END IF;
	RETURN (SELECT lifeguard.schedule_next(p.schedule, p.except_schedule,
				coalesce(p.time_zone, current_setting('log_timezone')), after)
			FROM ONLY lifeguard.policy p WHERE p.name = next_in_force.name);
END
$$;
COMMENT ON FUNCTION lifeguard.next_in_force(text, timestamptz) IS
'When a policy''s schedules next have it in force, at that instant or after it, enabled or not; NULL means never.';

CREATE FUNCTION lifeguard.create_recommended_policies() RETURNS SETOF text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	choice lifeguard.policy;
BEGIN
	PERFORM lifeguard.require_home_database();
	FOR choice.name, choice.target, choice.min_duration, choice.min_blocked, choice.min_blocked_for,
		choice.min_horizon_age, choice.min_same_query, choice.connections_above,
		choice.connections_until, choice.keep, choice.victim_order, choice.action, choice.comment IN
	SELECT * FROM (VALUES
		('forgotten_transaction_blocks', 'idle in transaction', interval '5 s', 1, interval '30 s',
			NULL::integer, NULL::integer, NULL::numeric, NULL::numeric, 0, 'most blocking', 'terminate',
			'A session that sits idle in a transaction, for 5 s now, and has kept somebody waiting for a lock for 30 s: its connection is closed, its transaction rolled back.'),
		('forgotten_transaction', 'idle in transaction', '15 min', NULL, NULL,
			NULL, NULL, NULL, NULL, 0, 'longest', 'terminate',
			'A session that has sat idle in a transaction for 15 minutes, blocking or not: its connection is closed, its transaction rolled back.'),
		('idle_while_full', 'idle', '1 min', NULL, NULL,
			NULL, NULL, 0.90, 0.75, 2, 'longest', 'terminate',
			'While 90 % of the connection slots are taken, and until 75 % are: sessions idle for a minute, outside any transaction, longest first, lose their connection; two per database, role, application and client are kept.'),
		('ddl_holds_up_queue', 'queued ddl', '5 s', 11, '5 s',
			NULL, NULL, NULL, NULL, 0, 'most blocking', 'cancel',
			'A statement that waits for a strong lock on a table, with more than 10 sessions queued up behind it for 5 s: the statement is cancelled and can be tried again; who holds the table is left alone.'),
		('horizon_held_back', 'transaction', '1 day', NULL, NULL,
			1, NULL, NULL, NULL, 0, 'longest', 'terminate',
			'The transaction that keeps dead rows from being removed, when it is a day old: its connection is closed, its transaction rolled back.'),
		('query_stampede', 'active', '5 s', NULL, NULL,
			NULL, 20, NULL, NULL, 0, 'all but oldest', 'cancel',
			'20 sessions of one database or more run the same query, these for more than 5 s: all but the oldest are cancelled, which can end and fill the cache they all want. Needs compute_query_id.')
	) c
	LOOP
		CONTINUE WHEN EXISTS (SELECT FROM ONLY lifeguard.policy p WHERE p.name = choice.name);
		INSERT INTO lifeguard.policy (name, target, min_duration, min_blocked, min_blocked_for,
			min_horizon_age, min_same_query, connections_above, connections_until, keep, victim_order, comment)
		VALUES (choice.name, choice.target, choice.min_duration, choice.min_blocked, choice.min_blocked_for,
			choice.min_horizon_age, choice.min_same_query, choice.connections_above,
			choice.connections_until, choice.keep, choice.victim_order,
			format('%s Created to log only; to arm it: SELECT lifeguard.alter_policy(%L, action => %L);',
				   choice.comment, choice.name, choice.action));
		RETURN NEXT choice.name;
	END LOOP;
END
$$;
COMMENT ON FUNCTION lifeguard.create_recommended_policies() IS
'Creates six policies that suit most servers, which only log until armed; leaves those that exist alone and returns the names of the others.';

-- Nothing that changes anything is PUBLIC's.  Who is to manage policies needs
-- EXECUTE on these, and SELECT, INSERT, UPDATE and DELETE on lifeguard.policy.
REVOKE ALL ON FUNCTION lifeguard.create_policy, lifeguard.alter_policy,
	lifeguard.enable_policy(text), lifeguard.disable_policy(text), lifeguard.drop_policy(text),
	lifeguard.next_in_force(text, timestamptz), lifeguard.create_recommended_policies(),
	lifeguard.require_home_database(), lifeguard.require_policy(text)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lifeguard.next_in_force(text, timestamptz) TO pg_read_all_stats;
-- the functions above call them with their caller's rights; each only raises an error
GRANT EXECUTE ON FUNCTION lifeguard.require_home_database(), lifeguard.require_policy(text) TO PUBLIC;
