-- The report of a night: what happened, whom it cost how much, what to do next.
--
-- Each section is a document: its title, sentences that lead in, a table, and for
-- each of its rows notes, the next step and the call for it.  Texts in it are plain;
-- report() and report_html() escape them for their pages.  All of it is read with
-- the caller's rights through the views, which hide what he may not see.

CREATE FUNCTION lifeguard.report_period(since timestamptz, until timestamptz,
	OUT from_time timestamptz, OUT to_time timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	days integer := coalesce(nullif(current_setting('pg_lifeguard.history_retention', true), ''), '30')::integer;
BEGIN
	to_time := least(coalesce(report_period.until, now()), now());
	IF NOT isfinite(to_time) THEN
		from_time := report_period.since;
	ELSIF report_period.since = '-infinity' THEN
		from_time := to_time - make_interval(days => coalesce(nullif(days, 0), 3650));
	ELSE
		from_time := coalesce(report_period.since, to_time - interval '24 hours');
	END IF;
	IF NOT isfinite(to_time) OR from_time >= to_time THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'the period of a report must begin before it ends, and before now',
			DETAIL = format('It begins at %s and ends at %s.', from_time, to_time);
	END IF;
END
$$;
COMMENT ON FUNCTION lifeguard.report_period(timestamptz, timestamptz) IS
'What the arguments of a report mean: without until up to now, without since the 24 hours before.';

CREATE FUNCTION lifeguard.report_row(cells text[], notes text[], step text, call text) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT jsonb_build_object('cells', to_jsonb(cells), 'notes', to_jsonb(coalesce(notes, '{}')), 'step', step, 'call', call)
$$;
COMMENT ON FUNCTION lifeguard.report_row(text[], text[], text, text) IS
'A row of a section: its cells, notes as "label", "text", ..., the next step and its call.';

CREATE FUNCTION lifeguard.report_section(key text, title text, nothing text, leads text[], head text[], rows jsonb[])
RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT jsonb_build_object('key', key, 'title', title, 'nothing', nothing,
	'leads', to_jsonb(array_remove(coalesce(leads, '{}'), NULL)), 'head', to_jsonb(head),
	'rows', to_jsonb(coalesce(rows, '{}')))
$$;
COMMENT ON FUNCTION lifeguard.report_section(text, text, text, text[], text[], jsonb[]) IS
'A section: what it says when there is nothing to tell, sentences, headings of columns (those of numbers begin with "#"), rows.';

CREATE FUNCTION lifeguard.report_recorded(from_time timestamptz, to_time timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	state jsonb := (SELECT to_jsonb(s) FROM lifeguard.status s);
	days integer := coalesce(nullif(current_setting('pg_lifeguard.history_retention', true), ''), '30')::integer;
	seen record;
	gaps text[];
	gap_number integer;
	lost text;
	leads text[];
BEGIN
	leads := ARRAY[
		format('From %s to %s (%s), %s.', lifeguard.report_time(from_time), lifeguard.report_time(to_time),
			current_setting('TimeZone'), lifeguard.report_duration(extract(epoch FROM to_time - from_time))),
		format('PostgreSQL %s, a %s, seen from database %s; pg_lifeguard %s, collector: %s.',
			current_setting('server_version'), CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE 'primary' END,
			lifeguard.report_line(current_database(), 64), coalesce(state->>'library_version', state->>'catalog_version'),
			state->>'collector'),
		'Its status: ' || (state->>'message') || '.',
		CASE WHEN current_database() <> lifeguard.home_database() THEN
			format('The histories are in database %s: here only what shared memory still holds can be told.',
				lifeguard.report_line(lifeguard.home_database(), 64)) END,
		CASE WHEN pg_is_in_recovery() THEN
			'Of its primary too are incidents, contention, idle transactions and actions; connections and load are this standby''s own.' END,
		CASE WHEN NOT pg_has_role('pg_read_all_stats', 'USAGE') THEN
			'Statements, and some times, of roles that you are not a member of are hidden from you.' END];

	SELECT count(*) AS minutes, min(m.minute) AS first, max(m.minute) AS last INTO seen
	FROM lifeguard.report_minutes(from_time, to_time) m;
	IF seen.minutes = 0 THEN
		RETURN lifeguard.report_section('recorded', 'What was recorded', 'Nothing was recorded in this period.',
			leads || ARRAY['Nothing was recorded in this period.'], NULL, NULL);
	END IF;
	leads := leads || ARRAY[format('Recorded: %s from %s to %s.', lifeguard.report_count(seen.minutes, 'minute', 'minutes'),
		lifeguard.report_time(seen.first), lifeguard.report_time(least(seen.last + interval '1 minute', to_time)))];

	-- What is missing.  Silence must not be taken for calm.
	IF seen.first > from_time + interval '1 minute' THEN
		leads := leads || ARRAY[format('Missing: %s before the first minute recorded; histories go back %s and have at most %s per kind.',
			lifeguard.report_duration(extract(epoch FROM seen.first - from_time)),
			CASE WHEN days = 0 THEN 'for ever' ELSE lifeguard.report_count(days, 'day', 'days') END,
			coalesce(nullif(current_setting('pg_lifeguard.history_max_size', true), ''), '256MB'))];
	END IF;
	SELECT count(*), array_agg(format('%s to %s (%s)', lifeguard.report_time(g.ends), lifeguard.report_time(g.begins),
			lifeguard.report_duration(extract(epoch FROM g.begins - g.ends))) ORDER BY g.begins - g.ends DESC, g.begins)
	INTO gap_number, gaps
	FROM (SELECT lag(m.minute) OVER (ORDER BY m.minute) + interval '1 minute' AS ends, m.minute AS begins
		  FROM (SELECT r.minute FROM lifeguard.report_minutes(from_time, to_time) r
				UNION SELECT date_trunc('minute', to_time)) m) g
	WHERE g.begins > g.ends + CASE WHEN g.begins > seen.last THEN interval '1 minute' ELSE interval '0' END;
	IF gap_number > 0 THEN
		leads := leads || ARRAY[format('Missing: nothing was recorded from %s%s.', array_to_string(gaps[1:5], ', '),
			CASE WHEN gap_number > 5 THEN format(', and %s shorter times', gap_number - 5) ELSE '' END)];
	END IF;
	SELECT string_agg(format('%s %s', l.value, l.what), ', ' ORDER BY l.what) INTO lost
	FROM (SELECT state->>k.key AS value, k.what FROM (VALUES
		('missed_passes', 'passes missed'), ('late_passes', 'passes late by more than 5 s'),
		('clock_jumps', 'jumps of the clock'), ('waits_cut_off', 'waits left out of passes by a bound'),
		('ledger_lost', 'ledger entries pushed out of memory'), ('records_lost', 'records of histories that never reached their tables'),
		('waits_folded', 'waits summed without their statements')) k (key, what)) l
	WHERE l.value::numeric > 0;
	IF lost IS NOT NULL THEN
		leads := leads || ARRAY[format('Since the server started, all periods together: %s.', lost)];
	END IF;
	RETURN lifeguard.report_section('recorded', 'What was recorded', NULL, leads, NULL, NULL);
END
$$;
COMMENT ON FUNCTION lifeguard.report_recorded(timestamptz, timestamptz) IS
'Section of reports: the period, and what is missing of it.';

CREATE FUNCTION lifeguard.report_incident_step(incident lifeguard.incidents, to_time timestamptz, OUT step text, OUT call text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	until timestamptz := coalesce(incident.until, to_time);
	age numeric := extract(epoch FROM until - incident.since);
	-- the state is hidden from some
	idle boolean := coalesce(incident.root_state LIKE 'idle in transaction%', false);
	short numeric := lifeguard.report_limit(age);
	blocked integer := greatest(1, incident.worst_waiters / 4);
BEGIN
	-- where few waited, whom they waited for is not what made the incident
	IF incident.root_pid > 0 AND 'waiters' = ANY (incident.causes) THEN
		-- for both targets the age is that of the blocker's state
		step := format('%sSee what a policy would have saved that ends %s while %s or more wait for it (here it was up to %s, in %s); if that is what you want, create_policy() takes the same values.',
			CASE WHEN incident.ended_by = 'policy' THEN 'A policy ended it (see actions); would sooner have been better? ' ELSE '' END,
			format(CASE WHEN idle THEN 'whoever is idle in a transaction for %s' ELSE 'a blocker whose state lasts for %s' END,
				lifeguard.report_interval(short)),
			blocked, incident.worst_waiters, lifeguard.report_duration(age));
		call := lifeguard.report_replay(jsonb_build_object(
			'target', CASE WHEN idle THEN 'idle in transaction' ELSE 'blocker' END,
			'min_duration', lifeguard.report_interval(short), 'min_blocked', blocked, 'action', 'terminate')
			|| CASE WHEN incident.recorded_on = 'standby' THEN '{"runs_on": "standby"}' ELSE '{}' END::jsonb,
			incident.since, until);
	ELSIF incident.root_pid = 0 AND 'waiters' = ANY (incident.causes) THEN
		step := format('A prepared transaction kept %s waiting: look which of them are old, and end the one that nobody will commit.',
			lifeguard.report_count(incident.worst_waiters, 'session', 'sessions'));
		call := 'SELECT gid, prepared, owner, database FROM pg_prepared_xacts ORDER BY prepared;';
	ELSIF 'saturation' = ANY (incident.causes) THEN
		step := format('%s of %s usable slots were taken: look who held them at the worst moment.', incident.worst_used, incident.usable);
		call := format('SELECT * FROM lifeguard.connection_usage_history WHERE minute = date_trunc(''minute'', timestamptz %s) ORDER BY held_max DESC;',
			lifeguard.report_moment(coalesce(incident.worst_at, incident.since)));
	ELSIF 'refusals' = ANY (incident.causes) THEN
		step := format('%s refused, though no pass saw the slots taken: see by which limit, and whose.',
			lifeguard.report_count(coalesce(incident.refusals, 0), 'connection was', 'connections were'));
		call := format('SELECT cause, usename, datname, application_name, sum(attempts) FROM lifeguard.refusals WHERE at BETWEEN %s AND timestamptz %s + interval ''1 second'' GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC;',
			lifeguard.report_moment(incident.since), lifeguard.report_moment(until));
	ELSIF incident.worst_waiters > 0 THEN
		step := format('Look at its longest waits: up to %s waited at a time.', lifeguard.report_count(incident.worst_waiters, 'session', 'sessions'));
		-- it begins when many wait, who began before
		call := format('SELECT * FROM lifeguard.lock_wait_history WHERE wait_start < %s AND wait_start + duration >= %s ORDER BY duration DESC LIMIT 20;',
			lifeguard.report_moment(until + interval '1 second'), lifeguard.report_moment(incident.since));
	END IF;
END
$$;
COMMENT ON FUNCTION lifeguard.report_incident_step(lifeguard.incidents, timestamptz) IS
'The next step for an incident, and its call.';

CREATE FUNCTION lifeguard.report_incidents(from_time timestamptz, to_time timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	total record;
	i lifeguard.incidents;
	next record;
	rows jsonb[];
BEGIN
	SELECT count(*) AS number, count(*) FILTER (WHERE t.until IS NULL) AS open, coalesce(sum(t.seconds_lost), 0) AS lost,
		coalesce(sum(t.sessions_hurt), 0) AS hurt
	INTO total
	FROM lifeguard.incidents t
	WHERE t.since < to_time AND coalesce(t.until, to_time) >= from_time;
	FOR i IN
		SELECT t.* FROM lifeguard.incidents t
		WHERE t.since < to_time AND coalesce(t.until, to_time) >= from_time
		ORDER BY t.seconds_lost DESC NULLS LAST, t.since LIMIT 10
	LOOP
		next := lifeguard.report_incident_step(i, to_time);
		rows := rows || lifeguard.report_row(
			ARRAY[lifeguard.report_time(i.since), coalesce(lifeguard.report_time(i.until), 'goes on'),
				lifeguard.report_duration(extract(epoch FROM coalesce(i.until, to_time) - i.since)),
				array_to_string(i.causes, ', '), coalesce(i.worst_waiters::text, ''),
				format('%s of %s', i.worst_used, i.usable), i.sessions_hurt::text,
				to_char(i.seconds_lost, 'FM9999999999990.0'),
				coalesce(i.ended_by, CASE WHEN i.until IS NULL THEN 'goes on' ELSE 'not known' END)],
			ARRAY[CASE WHEN i.root_pid IS NULL OR 'waiters' = ANY (i.causes) THEN 'First cause' ELSE 'Others waited for' END, CASE
					WHEN i.root_pid IS NULL THEN 'none known'
					WHEN i.root_pid = 0 THEN 'a prepared transaction' || coalesce(' of ' || lifeguard.report_line(i.root_usename, 64), '')
						|| coalesce(' in ' || lifeguard.report_line(i.root_datname, 64), '')
					ELSE format('%s, PID %s%s%s', lifeguard.report_who(i.root_application_name, i.root_usename, i.root_datname),
						i.root_pid, coalesce(', from ' || host(i.root_client_addr), ''), coalesce(', ' || i.root_state, '')) END
					|| coalesce('; awaited was ' || lifeguard.report_line(i.relation_name, 130), '')]
				|| CASE WHEN i.root_query <> '' THEN ARRAY['Statement', lifeguard.report_line(i.root_query)] END
				|| CASE WHEN i.root_query_tags <> '' THEN ARRAY['Tags', lifeguard.report_line(i.root_query_tags)] END
				|| CASE WHEN i.refusals > 0 THEN ARRAY['Refused', lifeguard.report_count(i.refusals, 'connection', 'connections')] END,
			next.step, next.call);
	END LOOP;
	RETURN lifeguard.report_section('incidents', 'Incidents', 'No incident: nothing reached the bounds of one.',
		ARRAY[CASE WHEN total.number > 0 THEN format('%s%s: %s lost by waiting, %s hurt.', lifeguard.report_count(total.number, 'incident', 'incidents'),
			CASE WHEN total.open > 0 THEN format(' (%s under way)', total.open) ELSE '' END,
			lifeguard.report_duration(total.lost), lifeguard.report_count(total.hurt, 'session', 'sessions')) END,
			CASE WHEN total.number > 10 THEN 'The 10 that cost most:' END],
		'{From,Until,Lasted,Causes,#Waiters,#Used,#Hurt,#Seconds lost,Ended by}', rows);
END
$$;
COMMENT ON FUNCTION lifeguard.report_incidents(timestamptz, timestamptz) IS
'Section of reports: incidents, those that cost most first.';

-- Hiding a million statements takes longer than reading them.  What is here is
-- hidden from nobody in lock_wait_history either.
CREATE VIEW lifeguard.report_waits AS
WITH memory AS MATERIALIZED (SELECT m.* FROM lifeguard.read_lock_wait_history() m)
SELECT m.wait_start, m.duration, m.ended_by, COALESCE(m.relation_name, CASE WHEN m.relation IS NOT NULL THEN (
		SELECT e.relation_name FROM ONLY lifeguard.lock_wait_entries e WHERE e.boot = m.boot AND e.number = m.number) END) AS relation_name,
	m.locktype, m.waiter_application_name, m.waiter_usename, m.root_application_name, m.root_usename
FROM memory m
UNION ALL
SELECT e.wait_start, e.duration, e.ended_by, e.relation_name, e.locktype, e.waiter_application_name, e.waiter_usename, e.root_application_name, e.root_usename
FROM ONLY lifeguard.lock_wait_entries e
WHERE NOT EXISTS (SELECT FROM memory m WHERE m.boot = e.boot AND m.number = e.number);
COMMENT ON VIEW lifeguard.report_waits IS
'Of lock_wait_history what is hidden from nobody, for reports of a million waits.';
COMMENT ON COLUMN lifeguard.report_waits.wait_start IS 'When the wait began';
COMMENT ON COLUMN lifeguard.report_waits.duration IS 'How long it lasted';
COMMENT ON COLUMN lifeguard.report_waits.ended_by IS 'granted, cancelled, gone, lock timeout, deadlock, policy or by hand';
COMMENT ON COLUMN lifeguard.report_waits.relation_name IS 'Name of the relation concerned';
COMMENT ON COLUMN lifeguard.report_waits.locktype IS 'What kind of lock was awaited';
COMMENT ON COLUMN lifeguard.report_waits.waiter_application_name IS 'What the waiter''s client called itself';
COMMENT ON COLUMN lifeguard.report_waits.waiter_usename IS 'Role of the waiter';
COMMENT ON COLUMN lifeguard.report_waits.root_application_name IS 'What the root blocker''s client called itself';
COMMENT ON COLUMN lifeguard.report_waits.root_usename IS 'Role of the root blocker';
GRANT SELECT ON lifeguard.report_waits TO PUBLIC;

-- What explains it, and what to do: the first that the figures speak for.  longest: of
-- the like of it, for waits may have ended behind others than they began.
CREATE FUNCTION lifeguard.report_contention_step(c record, longest interval, from_time timestamptz, to_time timestamptz,
	OUT step text, OUT call text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	width bigint := coalesce(c.hot_row_width, c.avg_row_width);
	-- names are told schema-qualified; what is none is not for a call.  Looked up by
	-- hand: to_regclass() fails where the caller may not use the schema.
	names text[] := CASE WHEN c.datname = current_database()
		AND c.relation_name ~ '^("[^"]+"|[a-z_][a-z0-9_$]*)[.]("[^"]+"|[a-z_][a-z0-9_$]*)$' THEN parse_ident(c.relation_name) END;
	relation text := (SELECT lifeguard.report_identifier(n.nspname) || '.' || lifeguard.report_identifier(r.relname)
		FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace
		WHERE n.nspname = names[1]::name AND r.relname = names[2]::name);
	weak CONSTANT text[] := '{AccessShareLock,RowShareLock,RowExclusiveLock}';
	on_rows boolean := c.locktype IN ('transactionid', 'tuple');
	short numeric := lifeguard.report_limit(extract(epoch FROM longest));
	longest_text text := lifeguard.report_duration(extract(epoch FROM longest));
	queued_ddl text := format('SELECT lifeguard.create_policy(''queued_ddl'', ''queued ddl'', ''%s'', min_blocked => 1%s);', lifeguard.report_interval(short),
		coalesce(', runs_on => ' || quote_literal(c.runs_on->>'runs_on'), ''));
	there record;
BEGIN
	IF c.root_query = '<prepared transaction>' THEN
		step := 'The blocker is a prepared transaction, which holds its locks whoever comes and goes: commit it or roll it back, and see who leaves such behind; a policy with target prepared transaction rolls back old ones.';
		call := 'SELECT gid, prepared, owner, database FROM pg_prepared_xacts ORDER BY prepared;';
	ELSIF c.mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock') AND c.locktype = 'relation' AND longest IS NOT NULL THEN
		there := lifeguard.report_policy_standing('queued_ddl', 'queued ddl');
		step := format('The waiter asks for %s on the whole relation, and all who come later queue behind it (longest wait %s): give such statements a lock_timeout and try again%s', c.mode, longest_text,
			coalesce('; ' || there.step, ', or let a policy cancel them (it only logs until its action is cancel).'));
		call := coalesce(there.call, queued_ddl);
	ELSIF c.locktype = 'relation' AND c.mode = ANY (weak) AND c.held_mode = ANY (weak) AND longest IS NOT NULL THEN
		there := lifeguard.report_policy_standing('queued_ddl', 'queued ddl');
		step := format('These modes do not conflict: they queued behind a statement that asks for a stronger lock (longest wait %s)%s',
			longest_text, coalesce('; ' || there.step, ', which a policy can cancel (it only logs until its action is cancel).'));
		call := coalesce(there.call, queued_ddl);
	ELSIF on_rows AND width >= 8192 THEN
		step := format('Each update writes a row of %s anew while the others wait (the average row has %s, the hot ones up to %s): split it into several rows, or move the wide column into a table of its own.',
			lifeguard.report_bytes(width), coalesce(lifeguard.report_bytes(c.avg_row_width), 'an unknown size'),
			coalesce(lifeguard.report_bytes(c.hot_row_width), 'an unknown size'));
		IF relation IS NOT NULL AND c.top_rows[1] IS NOT NULL THEN
			call := format('SELECT pg_column_size(r.*), r.ctid FROM %s r WHERE r.ctid = ''%s'';', relation, c.top_rows[1]);
		END IF;
	ELSIF on_rows AND c.n_tup_upd >= 1000 AND c.hot_share < 0.5 THEN
		step := format('Only %s %% of %s updates were HOT: drop indexes on the columns that are updated, or leave room in its pages, which new pages get from',
			round(100 * c.hot_share), c.n_tup_upd) || ' a lower fillfactor.';
		call := 'ALTER TABLE ' || relation || ' SET (fillfactor = 80);';
	ELSIF on_rows AND c.n_dead_tup >= 10000 AND c.n_dead_tup > c.n_tup_upd / 10 THEN
		step := format('%s dead rows lie in it: find out what holds them (see idle transactions), then vacuum it.', c.n_dead_tup);
		call := 'VACUUM (VERBOSE) ' || relation || ';';
	ELSIF c.locktype = 'advisory' AND longest IS NOT NULL THEN
		step := format('Sessions take turns on an advisory lock%s: let them try for it (pg_try_advisory_lock), or hold it for a shorter time; a policy ends whoever holds it too long.',
			coalesce(', ' || lifeguard.report_duration(extract(epoch FROM c.p50)) || ' each at the median', ''));
		call := lifeguard.report_replay(jsonb_build_object('target', 'blocker', 'min_duration', lifeguard.report_interval(short),
			'min_blocked', 1, 'action', 'terminate') || c.runs_on, from_time, to_time);
	ELSIF c.root_application_name IS NULL AND c.root_usename IS NULL THEN
		step := 'No session is known to have blocked: it was autovacuum or another process of the server, or a deadlock; look at the single waits.';
		call := format('SELECT * FROM lifeguard.lock_wait_history WHERE wait_start < %s AND wait_start + duration >= %s AND root_usename IS NULL ORDER BY duration DESC LIMIT 20;',
			lifeguard.report_moment(to_time + interval '1 second'), lifeguard.report_moment(from_time));
	ELSIF longest IS NULL THEN
		step := 'See who keeps others waiting: none of these waits ended in this time.';
		call := CASE WHEN to_time >= statement_timestamp() - interval '1 min' THEN 'SELECT * FROM lifeguard.blockers;'
			ELSE format('SELECT * FROM lifeguard.lock_wait_history WHERE wait_start < %s AND wait_start + duration >= %s ORDER BY duration DESC LIMIT 20;',
				lifeguard.report_moment(to_time), lifeguard.report_moment(from_time)) END;
	ELSIF extract(epoch FROM longest) >= 4 THEN
		step := format('Waits took up to %s%s: see what a policy would have saved that ends blockers %s after they last changed their state.',
			longest_text, coalesce(', 19 of 20 up to ' || lifeguard.report_duration(extract(epoch FROM c.p95)), ''),
			lifeguard.report_interval(short));
		call := lifeguard.report_replay(jsonb_build_object('target', 'blocker', 'min_duration', lifeguard.report_interval(short),
			'min_blocked', 1, 'action', 'terminate') || c.runs_on, from_time, to_time);
	ELSE
		step := format('Only short waits (%sthe longest %s): let transactions take these locks last and commit at once after.',
			CASE WHEN c.waits > 0 THEN lifeguard.report_count(c.waits, 'wait', 'waits') || ', ' ELSE '' END, longest_text);
	END IF;
END
$$;
COMMENT ON FUNCTION lifeguard.report_contention_step(record, interval, timestamptz, timestamptz) IS
'The next step for a row of contention() with what report_runs_on() says, given the longest wait of its kind that has ended, and its call.';

CREATE FUNCTION lifeguard.report_contention(from_time timestamptz, to_time timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	c record;
	total record;
	waits record;
	next record;
	rows jsonb[];
	calls text[];
	same integer;
	explains text;
	ends timestamptz := to_time - interval '1 microsecond';
BEGIN
	SELECT 0.0 AS all_lost, 0.0 AS all_estimated, 0.0 AS all_waits, 0::bigint AS all_rows INTO total;
	SELECT coalesce(sum(w.number), 0) AS number, max(w.longest) AS longest,
		string_agg(format('%s %s', w.ended_by, w.number), ', ' ORDER BY w.number DESC) AS ends
	INTO waits
	FROM (SELECT h.ended_by, count(*) AS number, max(h.duration) AS longest
		  FROM lifeguard.report_waits h
		  -- by what the two indexes find: long ones are few, whenever they began
		  WHERE (h.wait_start >= from_time - interval '1 hour'
				OR h.duration >= interval '1 hour' AND h.wait_start < from_time - interval '1 hour')
			AND h.wait_start < to_time AND h.wait_start + h.duration >= from_time
		  GROUP BY h.ended_by) w;
	FOR c IN
		SELECT t.*, sum(t.seconds_lost) OVER () AS all_lost, sum(t.seconds_estimated) OVER () AS all_estimated,
			sum(t.waits) OVER () AS all_waits, count(*) OVER () AS all_rows,
			max(t.max) OVER (PARTITION BY t.datname, t.relation_name,
				CASE WHEN t.locktype IN ('transactionid', 'tuple') THEN 'row' ELSE t.locktype END) AS kind_max,
			(SELECT lifeguard.report_runs_on(from_time, to_time)) AS runs_on
		FROM lifeguard.contention(from_time, ends) t
		ORDER BY t.seconds_lost DESC NULLS LAST LIMIT 10
	LOOP
		total := c;
		-- what cost next to nothing needs no step, and nobody reads one twice
		IF c.seconds_lost >= 0.01 * c.all_lost OR rows IS NULL THEN
			next := lifeguard.report_contention_step(c, coalesce(c.max, c.kind_max), from_time, to_time);
			same := CASE WHEN next.call IS NOT NULL THEN array_position(calls, next.call) END;
			calls := calls || next.call;
			IF same IS NOT NULL THEN
				next.step := format('The same as for %s.', same);
				next.call := NULL;
			END IF;
		ELSE
			SELECT NULL::text AS step, NULL::text AS call INTO next;
			calls := calls || NULL::text;
		END IF;
		explains := array_to_string(ARRAY[
			c.n_tup_upd || ' updates', round(100 * c.hot_share) || ' % of them HOT', c.n_dead_tup || ' dead rows',
			'average row ' || lifeguard.report_bytes(c.avg_row_width), 'hot row ' || lifeguard.report_bytes(c.hot_row_width)], ', ');
		rows := rows || lifeguard.report_row(
			ARRAY[coalesce(lifeguard.report_line(c.relation_name, 130), c.locktype), coalesce(lifeguard.report_line(c.datname, 64), ''),
				c.mode || coalesce(' against ' || c.held_mode, ''), c.waits::text,
				to_char(c.seconds_lost, 'FM9999999999990.0'), to_char(c.seconds_estimated, 'FM9999999999990.0'),
				coalesce(lifeguard.report_duration(extract(epoch FROM c.p95)), ''),
				coalesce(lifeguard.report_duration(extract(epoch FROM c.max)), '')],
			ARRAY['Who', format('%s made %s wait',
				CASE WHEN c.root_application_name IS NULL AND c.root_usename IS NULL THEN 'nobody known'
					WHEN c.root_query = '<prepared transaction>' THEN 'a prepared transaction' || coalesce(' of ' || lifeguard.report_line(c.root_usename, 64), '')
					ELSE lifeguard.report_who(c.root_application_name, c.root_usename, NULL) END,
				lifeguard.report_who(c.waiter_application_name, c.waiter_usename, NULL))]
			|| CASE WHEN c.root_query NOT IN ('', '<prepared transaction>') THEN ARRAY['Blocker''s statement', lifeguard.report_line(c.root_query)] END
			|| CASE WHEN c.waiter_query <> '' THEN ARRAY['Waiter''s statement', lifeguard.report_line(c.waiter_query)] END
			|| CASE WHEN c.top_rows <> '{}' THEN ARRAY['Rows', (
				SELECT string_agg(format('%s %s', r.row, lifeguard.report_duration(r.seconds::numeric)), ', ' ORDER BY r.n)
				FROM unnest(c.top_rows[1:5], c.top_row_seconds[1:5]) WITH ORDINALITY r (row, seconds, n))] END
			|| CASE WHEN explains <> '' THEN ARRAY['Relation', explains] END,
			next.step, next.call);
	END LOOP;
	RETURN lifeguard.report_section('contention', 'Contention', 'No session waited for a lock long enough to be seen.',
		ARRAY[CASE WHEN rows IS NOT NULL THEN format('%s lost in %s%s.',
				lifeguard.report_duration(total.all_lost), lifeguard.report_count(total.all_waits::bigint, 'wait', 'waits'),
				CASE WHEN total.all_estimated > 0 THEN format('; of that %s estimated for waits that no pass saw',
					lifeguard.report_duration(total.all_estimated)) ELSE '' END) END,
			CASE WHEN waits.number > 0 THEN format('%s recorded one by one, the longest took %s; ended by: %s.',
				lifeguard.report_count(waits.number::bigint, 'wait is', 'waits are'),
				lifeguard.report_duration(extract(epoch FROM waits.longest)), waits.ends) END,
			CASE WHEN total.all_rows > 10 THEN format('The 10 of %s that cost most:', total.all_rows) END],
		'{Relation,Database,Modes,#Waits,#Seconds lost,#Of that estimated,#95 % within,#Longest}', rows);
END
$$;
COMMENT ON FUNCTION lifeguard.report_contention(timestamptz, timestamptz) IS
'Section of reports: who made whom wait for what, and what explains it.';

CREATE FUNCTION lifeguard.report_idle_step(g record, OUT step text, OUT call text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	limits CONSTANT numeric[] := '{1,2,5,10,30,60,300,1800}';
	-- where others waited, the longest limit that would have saved half of it; the
	-- waits are taken to be spread evenly over the pause
	best integer := CASE WHEN g.blocked > 0
		THEN coalesce((SELECT max(l.n) FROM unnest(g.saved) WITH ORDINALITY l (seconds, n) WHERE l.seconds >= g.blocked / 2), 1)
		ELSE array_position(limits, lifeguard.report_limit(extract(epoch FROM g.longest))) END;
	short numeric := limits[best];
	met bigint := g.longer[best];
	longest numeric := extract(epoch FROM g.longest);
	policy text := lifeguard.report_policy_name('idle', g.application_name, g.usename);
	there record := lifeguard.report_policy_standing(policy, 'idle in transaction');
BEGIN
	IF g.blocked >= 1 AND there.step IS NOT NULL THEN
		step := format('They kept others waiting for %s: %s', lifeguard.report_duration(g.blocked), there.step);
		call := there.call;
	ELSIF g.blocked >= 1 AND g.saved[best] < 0.1 * g.blocked THEN
		step := format('They kept others waiting for %s, in pauses too short for a limit to save much of it (the longest %s): let the program take its locks last, and commit at once after.',
			lifeguard.report_duration(g.blocked), lifeguard.report_duration(longest));
	ELSIF g.blocked >= 1 THEN
		step := format('They kept others waiting for %s%s: a limit of %s would have met %s of %s and saved about %s; this policy only logs until its action is terminate.',
			lifeguard.report_duration(g.blocked),
			CASE WHEN g.ended_by = 'policy' THEN ', although a policy ended the worst (see actions)' ELSE '' END,
			lifeguard.report_interval(short), met, lifeguard.report_count(g.stays, 'pause', 'pauses'),
			lifeguard.report_duration(g.saved[best]::numeric));
		call := format('SELECT lifeguard.create_policy(''%s'', ''idle in transaction'', ''%s'', min_blocked => 1%s);',
			policy, lifeguard.report_interval(short), lifeguard.report_filter(g.application_name, g.usename));
	ELSIF g.usename IS NOT NULL AND (longest >= 60 OR g.horizon >= 100000) THEN
		step := format('They blocked nobody%s, and lasted up to %s: a timeout of %s for that role would have ended %s of %s.',
			CASE WHEN g.horizon > 0 THEN format(' but held back vacuum by up to %s transactions', g.horizon) ELSE '' END,
			lifeguard.report_duration(extract(epoch FROM g.longest)), lifeguard.report_interval(short), met,
			lifeguard.report_count(g.stays, 'pause', 'pauses'));
		call := format('ALTER ROLE %s SET idle_in_transaction_session_timeout = ''%s'';', lifeguard.report_identifier(g.usename),
			replace(lifeguard.report_interval(short), ' ', ''));
	END IF;
END
$$;
COMMENT ON FUNCTION lifeguard.report_idle_step(record) IS
'The next step for a role and application that stayed idle in transactions, and its call.';

CREATE FUNCTION lifeguard.report_idle(from_time timestamptz, to_time timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	g record;
	next record;
	total record;
	rows jsonb[];
	notes text[];
	-- when a session fell idle is hidden from some, and such pauses are not told
	seen text := CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') THEN '' ELSE ' that you may see' END;
BEGIN
	-- Texts are fetched for the worst alone: worst_of is what finds them again.  stays is
	-- written down, so it has none.
	FOR g IN
		WITH stays AS (
			SELECT h.usename, h.datname, h.application_name, h.pid, h.idle_start, h.duration, h.max_blocked, h.horizon_age, h.locks_held, s.seconds, coalesce(h.blocked_seconds, 0) AS blocked,
				h.blocked_seconds::double precision / nullif(s.seconds, 0)::double precision AS weight,
				width_bucket(s.seconds::double precision, '{1,2,5,10,30,60,300,1800}') AS bucket
			FROM lifeguard.idle_transaction_history h, LATERAL (SELECT extract(epoch FROM h.duration) AS seconds) s
			WHERE h.idle_start < to_time AND h.idle_start + h.duration >= from_time
		), buckets AS (
			SELECT s.usename, s.datname, s.application_name, s.bucket, count(*) AS stays, sum(s.blocked) AS blocked,
				sum(s.weight) AS weight, max(s.duration) AS longest, max(s.max_blocked) AS most,
				max(s.horizon_age) AS horizon, max(s.locks_held) AS locks,
				max(ARRAY[s.blocked, s.seconds, extract(epoch FROM s.idle_start), s.pid]) AS worst_of
			FROM stays s GROUP BY s.usename, s.datname, s.application_name, s.bucket
		), groups AS (
			SELECT b.usename, b.datname, b.application_name, sum(b.stays)::bigint AS stays, sum(b.blocked) AS blocked, max(b.longest) AS longest,
				max(b.most) AS most, max(b.horizon) AS horizon, max(b.locks) AS locks, max(b.worst_of) AS worst_of,
				ARRAY[coalesce(sum(b.stays) FILTER (WHERE b.bucket >= 1), 0), coalesce(sum(b.stays) FILTER (WHERE b.bucket >= 2), 0), coalesce(sum(b.stays) FILTER (WHERE b.bucket >= 3), 0),
					coalesce(sum(b.stays) FILTER (WHERE b.bucket >= 4), 0), coalesce(sum(b.stays) FILTER (WHERE b.bucket >= 5), 0), coalesce(sum(b.stays) FILTER (WHERE b.bucket >= 6), 0),
					coalesce(sum(b.stays) FILTER (WHERE b.bucket >= 7), 0), coalesce(sum(b.stays) FILTER (WHERE b.bucket >= 8), 0)] AS longer,
				ARRAY[coalesce(sum(b.blocked - 1 * b.weight) FILTER (WHERE b.bucket >= 1), 0), coalesce(sum(b.blocked - 2 * b.weight) FILTER (WHERE b.bucket >= 2), 0),
					coalesce(sum(b.blocked - 5 * b.weight) FILTER (WHERE b.bucket >= 3), 0), coalesce(sum(b.blocked - 10 * b.weight) FILTER (WHERE b.bucket >= 4), 0),
					coalesce(sum(b.blocked - 30 * b.weight) FILTER (WHERE b.bucket >= 5), 0), coalesce(sum(b.blocked - 60 * b.weight) FILTER (WHERE b.bucket >= 6), 0),
					coalesce(sum(b.blocked - 300 * b.weight) FILTER (WHERE b.bucket >= 7), 0), coalesce(sum(b.blocked - 1800 * b.weight) FILTER (WHERE b.bucket >= 8), 0)] AS saved
			FROM buckets b GROUP BY b.usename, b.datname, b.application_name
		), ranks AS (
			SELECT r.*, row_number() OVER (ORDER BY r.blocked DESC, r.longest DESC) AS by_blocked,
				row_number() OVER (ORDER BY r.longest DESC) AS by_length, count(*) OVER () AS all_groups,
				sum(r.stays) OVER () AS all_stays, sum(r.blocked) OVER () AS all_blocked, max(r.longest) OVER () AS all_longest
			FROM groups r
		), worst AS MATERIALIZED (
			-- by what they cost, and the longest
			SELECT r.*, least(CASE WHEN r.blocked > 0 THEN r.by_blocked END, r.by_length + 5) AS place
			FROM ranks r ORDER BY place, r.by_blocked LIMIT 10
		), texts AS MATERIALIZED (
			SELECT h.pid, h.idle_start, h.duration, h.max_blocked, h.blocked_seconds, h.ended_by, h.query, h.query_tags,
				h.statements
			FROM lifeguard.idle_transaction_history h
			WHERE h.pid = ANY (ARRAY(SELECT o.worst_of[4]::integer FROM worst o))
		)
		SELECT o.*, x.pid, x.idle_start, x.duration AS lasted, x.max_blocked, x.blocked_seconds, x.ended_by, x.query, x.query_tags,
			x.statements
		FROM worst o LEFT JOIN texts x ON x.pid = o.worst_of[4] AND extract(epoch FROM x.idle_start) = o.worst_of[3]
		ORDER BY o.place, o.by_blocked
	LOOP
		total := g;
		next := lifeguard.report_idle_step(g);
		notes := ARRAY['Worst', format('PID %s from %s for %s, %s blocked, %s of waiting; ended: %s', g.pid, lifeguard.report_time(g.idle_start),
				lifeguard.report_duration(extract(epoch FROM g.lasted)), coalesce(g.max_blocked, 0),
				lifeguard.report_duration(coalesce(g.blocked_seconds, 0)), coalesce(g.ended_by, 'not known'))]
			|| CASE WHEN g.query <> '' THEN ARRAY['Last statement', lifeguard.report_line(g.query)] END
			-- the one that took the locks may be an earlier one
			|| CASE WHEN cardinality(g.statements) > 1 OR strpos(g.query, g.statements[1]) = 0 THEN ARRAY['Its transaction', (
				SELECT string_agg(lifeguard.report_line(t.statement, 100), '; ' ORDER BY t.n)
				FROM unnest(g.statements) WITH ORDINALITY t (statement, n))] END
			|| CASE WHEN g.query_tags <> '' THEN ARRAY['Tags', lifeguard.report_line(g.query_tags)] END;
		rows := rows || lifeguard.report_row(
			ARRAY[lifeguard.report_who(g.application_name, NULL, NULL), coalesce(lifeguard.report_line(g.usename, 64), ''),
				coalesce(lifeguard.report_line(g.datname, 64), ''), g.stays::text, lifeguard.report_duration(extract(epoch FROM g.longest)),
				to_char(g.blocked, 'FM9999999999990.0'), coalesce(g.most, 0)::text, coalesce(g.locks::text, ''), coalesce(g.horizon::text, '')],
			notes, next.step, next.call);
	END LOOP;
	IF rows IS NULL THEN
		RETURN lifeguard.report_section('idle', 'Idle transactions',
			format('No transaction%s stayed idle for longer than pg_lifeguard.min_episode.', seen), NULL, NULL, NULL);
	END IF;
	RETURN lifeguard.report_section('idle', 'Idle transactions', NULL,
		ARRAY[format('%s in transactions%s, the longest %s; others waited %s for them.',
			lifeguard.report_count(total.all_stays::bigint, 'pause', 'pauses'), seen, lifeguard.report_duration(extract(epoch FROM total.all_longest)),
			lifeguard.report_duration(total.all_blocked)),
			CASE WHEN total.all_groups > 10 THEN format('The worst 10 of %s, by the waiting they caused and by how long they lasted:', total.all_groups) END],
		'{Application,Role,Database,#Pauses,#Longest,#Seconds blocked,#Most blocked,#Locks,#Horizon age}', rows);
END
$$;
COMMENT ON FUNCTION lifeguard.report_idle(timestamptz, timestamptz) IS
'Section of reports: stays idle in transaction, the worst by the waiting they caused and by length.';

CREATE FUNCTION lifeguard.report_saturation(from_time timestamptz, to_time timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	peak record;
	h record;
	policy text;
	there record;
	rows jsonb[];
	step text;
	call text;
	share numeric;
BEGIN
	SELECT m.minute, m.recorded_on, m.used_max, m.usable, a.average, a.full_minutes, a.refusals, a.minutes INTO peak
	FROM (SELECT avg(r.used) AS average, count(*) FILTER (WHERE r.used_max >= 0.9 * r.usable) AS full_minutes,
			sum(r.refusals) AS refusals, count(*) AS minutes
		  FROM lifeguard.report_minutes(from_time, to_time) r) a,
		lifeguard.report_minutes(from_time, to_time) m
	ORDER BY m.used_max DESC NULLS LAST, m.minute LIMIT 1;
	IF NOT FOUND THEN
		RETURN lifeguard.report_section('saturation', 'Connections', 'No minute was recorded.', NULL, NULL, NULL);
	END IF;
	share := peak.used_max::numeric / nullif(peak.usable, 0);
	FOR h IN
		WITH boots AS MATERIALIZED (
			SELECT u.boot, u.datname, u.usename, u.application_name, sum(u.held) AS held, sum(u.held_max) AS held_max,
				sum(u.active) AS active, sum(u.active_max) AS active_max, sum(u.idle) AS idle,
				sum(u.idle_in_transaction) AS in_transaction, max(u.samples) AS samples
			FROM lifeguard.report_usage u
			WHERE u.minute = peak.minute AND u.recorded_on = peak.recorded_on
			GROUP BY u.boot, u.datname, u.usename, u.application_name
		), whole AS (
			SELECT sum(n.samples)::numeric AS samples FROM (SELECT max(b.samples) AS samples FROM boots b GROUP BY b.boot) n
		)
		SELECT b.datname, b.usename, b.application_name, sum(b.held * b.samples / w.samples) AS held, max(b.held_max) AS held_max,
			sum(b.active * b.samples / w.samples) AS active, max(b.active_max) AS active_max,
			sum(b.idle * b.samples / w.samples) AS idle, sum(b.in_transaction * b.samples / w.samples) AS in_transaction
		FROM boots b, whole w
		GROUP BY b.datname, b.usename, b.application_name
		ORDER BY max(b.held_max) DESC, sum(b.held * b.samples) DESC, b.application_name LIMIT 10
	LOOP
		step := NULL;
		call := NULL;
		IF h.held_max < 0.1 * peak.usable THEN
			NULL; -- no slots to be had from these
		ELSIF share >= 0.8 AND h.held >= 3 AND h.idle >= 0.5 * h.held THEN
			policy := lifeguard.report_policy_name('close_idle', h.application_name, h.usename);
			there := lifeguard.report_policy_standing(policy, 'idle');
			step := format('On average %s of its %s connections were idle, and %s: let it have a smaller pool or a pooler before it%s',
				round(h.idle), round(h.held), CASE WHEN h.active_max > 0 THEN format('never more than %s seen active at a time', h.active_max)
					ELSE 'none was ever seen active' END,
				coalesce('; ' || there.step, ', or let a policy close idle ones when slots run out (it only logs until its action is terminate).'));
			call := coalesce(there.call, format('SELECT lifeguard.create_policy(''%s'', ''idle'', ''1 min'', connections_above => 0.9, connections_until => 0.8, keep => %s%s);',
				policy, greatest(1, h.active_max), lifeguard.report_filter(h.application_name, h.usename)));
		ELSIF share >= 0.8 AND h.held >= 3 AND h.in_transaction >= 0.5 * h.held THEN
			step := format('On average %s of its %s connections were idle in a transaction: see idle transactions for what holds them.',
				round(h.in_transaction), round(h.held));
		ELSIF share >= 0.8 AND h.held >= 3 AND h.active >= 0.5 * h.held THEN
			step := format('On average %s of its %s connections were active: they need slots because they take long; see load for what they waited for.',
				round(h.active), round(h.held));
		END IF;
		rows := rows || lifeguard.report_row(
			ARRAY[lifeguard.report_who(h.application_name, NULL, NULL), coalesce(lifeguard.report_line(h.usename, 64), ''),
				coalesce(lifeguard.report_line(h.datname, 64), ''), h.held_max::text, to_char(h.held, 'FM9999990.0'),
				to_char(h.active, 'FM9999990.0'), to_char(h.idle, 'FM9999990.0'), to_char(h.in_transaction, 'FM9999990.0')],
			NULL, step, call);
	END LOOP;
	RETURN lifeguard.report_section('saturation', 'Connections', 'Nobody is known to have held any.',
		ARRAY[format('At most %s of %s usable slots were taken (%s %%), in the minute of %s; on average %s.', peak.used_max, peak.usable,
				round(100 * share), lifeguard.report_time(peak.minute), round(peak.average, 1)),
			CASE WHEN peak.full_minutes > 0 THEN format('%s of %s had 90 %% or more taken.', peak.full_minutes,
					lifeguard.report_count(peak.minutes, 'minute', 'minutes'))
				ELSE 'No minute had 90 % taken: there is nothing to be done about slots.' END,
			CASE WHEN peak.refusals > 0 THEN format('%s refused.', lifeguard.report_count(peak.refusals::bigint, 'connection was', 'connections were')) END,
			CASE WHEN rows IS NOT NULL THEN 'Who held them in that minute:' END],
		'{Application,Role,Database,#Most,#Held,#Active,#Idle,#Idle in transaction}', rows);
END
$$;
COMMENT ON FUNCTION lifeguard.report_saturation(timestamptz, timestamptz) IS
'Section of reports: how full the server was, and who held the connections when it was fullest.';

CREATE FUNCTION lifeguard.report_load(from_time timestamptz, to_time timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	l record;
	total record;
	rows jsonb[];
	step text;
	call text;
	there record;
BEGIN
	FOR l IN
		WITH minutes AS MATERIALIZED (
			SELECT m.minute, m.wait_event_type, m.wait_event, sum(m.active) AS active
			FROM lifeguard.report_load_minutes(from_time, to_time) m
			GROUP BY m.minute, m.wait_event_type, m.wait_event
		), events AS (
			SELECT e.wait_event_type AS type, e.wait_event AS event, sum(e.active) AS active, max(e.active) AS most,
				max(ARRAY[e.active, extract(epoch FROM e.minute)]) AS most_of
			FROM minutes e GROUP BY e.wait_event_type, e.wait_event
		)
		SELECT e.*, n.minutes, sum(e.active) OVER () AS all_active, count(*) OVER () AS all_events
		FROM events e, (SELECT nullif(count(DISTINCT m.minute), 0) AS minutes FROM minutes m) n
		ORDER BY e.active DESC, e.type, e.event LIMIT 10
	LOOP
		total := l;
		step := NULL;
		call := NULL;
		IF l.active >= 0.1 * l.all_active AND l.active / l.minutes >= 0.1 THEN
			CASE l.type
				WHEN 'Lock' THEN
					step := 'These are waits for locks: see contention.';
				WHEN 'CPU' THEN
					step := 'They ran, or waited for nothing that has a name: pg_stat_statements tells which statements run longest.';
					call := 'SELECT queryid, calls, total_exec_time, left(query, 100) FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT 10;';
				WHEN 'IO' THEN
					step := 'They waited for files: look which tables are read from outside shared buffers.';
					call := 'SELECT relid::regclass, heap_blks_read, idx_blks_read FROM pg_statio_user_tables ORDER BY heap_blks_read + coalesce(idx_blks_read, 0) DESC LIMIT 10;';
				WHEN 'Client' THEN
					there := lifeguard.report_policy_standing('stalled_clients', 'stalled client');
					step := 'They waited for their clients in the middle of a statement: '
						|| coalesce(there.step, 'a policy with target stalled client ends those that hold things up (it only logs until its action is terminate).');
					call := coalesce(there.call, 'SELECT lifeguard.create_policy(''stalled_clients'', ''stalled client'', ''1 min'', min_blocked => 1);');
				WHEN 'IPC' THEN
					step := 'They waited for other processes, of parallel queries or of replication: look who they are.';
					call := format('SELECT pid, backend_type, application_name, left(query, 100) FROM pg_stat_activity WHERE wait_event = %s;', lifeguard.report_literal(l.event));
				ELSE
					step := format('On average %s sessions waited for it: look what they run while it lasts.', to_char(l.active / l.minutes, 'FM9990.0'));
					call := format('SELECT left(query, 100), count(*) FROM pg_stat_activity WHERE wait_event = %s GROUP BY 1 ORDER BY 2 DESC;',
						lifeguard.report_literal(l.event));
			END CASE;
		END IF;
		rows := rows || lifeguard.report_row(
			ARRAY[l.type, CASE WHEN l.event IS DISTINCT FROM l.type THEN coalesce(lifeguard.report_line(l.event, 64), '') ELSE '' END,
				to_char(l.active / l.minutes, 'FM9999990.00'), round(100 * l.active / nullif(l.all_active, 0)) || ' %',
				to_char(l.most, 'FM9999990.0'), lifeguard.report_time(to_timestamp(l.most_of[2]::double precision))],
			NULL, step, call);
	END LOOP;
	IF rows IS NULL THEN
		RETURN lifeguard.report_section('load', 'Load', 'No session was active when a pass looked.', NULL, NULL, NULL);
	END IF;
	RETURN lifeguard.report_section('load', 'Load', NULL,
		ARRAY[format('On average %s sessions were active, over %s.', to_char(total.all_active / total.minutes, 'FM9999990.00'),
			lifeguard.report_count(total.minutes, 'minute', 'minutes'))],
		'{Wait class,Wait event,#Active on average,#Share,#Most in a minute,In the minute of}', rows);
END
$$;
COMMENT ON FUNCTION lifeguard.report_load(timestamptz, timestamptz) IS
'Section of reports: what active sessions waited for.';

CREATE FUNCTION lifeguard.report_actions(from_time timestamptz, to_time timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	a record;
	v record;
	total record;
	next record;
	rows jsonb[];
BEGIN
	FOR a IN
		WITH entries AS (
			SELECT l.policy, l.target, l.action, l.at, l.pid, l.repeats, l.waiters_freed, l.blocked_total,
				regexp_replace(l.outcome, ' in [0-9.]+ m?s.*$', '') AS outcome
			FROM lifeguard.ledger l
			WHERE l.at >= from_time AND l.at < to_time
		)
		SELECT e.policy, e.action, e.outcome, count(*) AS number, sum(e.repeats) AS repeats, sum(e.waiters_freed) AS freed,
			sum(e.blocked_total) AS blocked, max(e.at) AS last, sum(count(*)) OVER () AS all_entries,
			sum(count(*) FILTER (WHERE e.outcome IN ('terminated', 'cancelled', 'rolled back'))) OVER () AS all_acted,
			sum(sum(e.waiters_freed)) OVER () AS all_freed, count(*) OVER () AS all_kinds,
			max(max(e.at) FILTER (WHERE e.action <> 'log')) OVER (PARTITION BY e.policy) AS armed,
			(array_agg(e.target ORDER BY e.at DESC))[1] AS target
		FROM entries e GROUP BY e.policy, e.action, e.outcome
		ORDER BY coalesce(sum(e.waiters_freed), 0) DESC, count(*) DESC, e.policy LIMIT 10
	LOOP
		total := a;
		next := lifeguard.report_action_step(a, from_time, to_time);
		SELECT l.* INTO v FROM lifeguard.ledger l
		WHERE l.at = a.last AND l.policy IS NOT DISTINCT FROM a.policy
		ORDER BY l.outcome LIKE a.outcome || '%' DESC NULLS LAST LIMIT 1;
		rows := rows || lifeguard.report_row(
			ARRAY[coalesce(lifeguard.report_line(a.policy, 64), 'by hand'), coalesce(a.action, ''), coalesce(lifeguard.report_line(a.outcome, 80), 'not known yet'),
				a.number::text, coalesce(a.freed, 0)::text, lifeguard.report_time(a.last)],
			ARRAY['Last', format('%s%s%s', CASE WHEN v.gid IS NOT NULL THEN 'prepared transaction ' || lifeguard.report_line(v.gid, 64)
					ELSE 'PID ' || v.pid || ', ' || lifeguard.report_who(v.application_name, v.usename, v.datname) END,
				coalesce('; ' || lifeguard.report_line(v.reason), ''), coalesce('; on ' || lifeguard.report_line(v.relation_name, 130), ''))]
			|| CASE WHEN v.query <> '' THEN ARRAY['Statement', lifeguard.report_line(v.query)] END,
			next.step, next.call);
	END LOOP;
	IF rows IS NULL THEN
		RETURN lifeguard.report_section('actions', 'Actions', 'No policy acted, and nobody by hand.', NULL, NULL, NULL);
	END IF;
	RETURN lifeguard.report_section('actions', 'Actions', NULL,
		ARRAY[format('%s in the ledger, %s carried out; %s freed.',
			lifeguard.report_count(total.all_entries::bigint, 'entry', 'entries'), total.all_acted,
			lifeguard.report_count(coalesce(total.all_freed, 0)::bigint, 'waiter', 'waiters')),
			CASE WHEN total.all_kinds > 10 THEN format('10 of %s kinds, those that freed most waiters first:', total.all_kinds) END],
		'{Policy,Action,Outcome,#Times,#Waiters freed,Last}', rows);
END
$$;
COMMENT ON FUNCTION lifeguard.report_actions(timestamptz, timestamptz) IS
'Section of reports: what policies did, and people by hand.';

CREATE FUNCTION lifeguard.report_sections(from_time timestamptz, to_time timestamptz) RETURNS jsonb
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
SELECT jsonb_build_array(lifeguard.report_recorded(from_time, to_time), lifeguard.report_incidents(from_time, to_time),
	lifeguard.report_contention(from_time, to_time), lifeguard.report_idle(from_time, to_time),
	lifeguard.report_saturation(from_time, to_time), lifeguard.report_load(from_time, to_time),
	lifeguard.report_actions(from_time, to_time))
$$;
COMMENT ON FUNCTION lifeguard.report_sections(timestamptz, timestamptz) IS
'All sections of a report, in order.';

CREATE FUNCTION lifeguard.report(since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL) RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
SELECT E'# Report of pg_lifeguard\n' || string_agg(format(E'\n## %s\n\n%s', s.section->>'title',
	coalesce((SELECT string_agg(lifeguard.report_markdown(t.lead) || E'\n', E'\n' ORDER BY t.n)
			  FROM jsonb_array_elements_text(s.section->'leads') WITH ORDINALITY t (lead, n)), '')
	|| CASE WHEN s.section->'rows' <> '[]' THEN E'\n' || lifeguard.report_table(s.section->'head', s.section->'rows') || E'\n'
		|| coalesce(E'\n' || lifeguard.report_notes(s.section->'rows'), '')
		WHEN s.section->'leads' = '[]' THEN (s.section->>'nothing') || E'\n' ELSE '' END), '' ORDER BY s.n)
FROM lifeguard.report_period(report.since, report.until) p,
	jsonb_array_elements(lifeguard.report_sections(p.from_time, p.to_time)) WITH ORDINALITY s (section, n)
$$;
COMMENT ON FUNCTION lifeguard.report(timestamptz, timestamptz) IS
'What happened between two moments (without until up to now, without since in the 24 hours before), in Markdown that reads as plain text too: incidents, contention, idle transactions, connections, load and actions, with the figures and the next step for each. Shows what the views show the caller.';

GRANT EXECUTE ON FUNCTION lifeguard.report_period(timestamptz, timestamptz), lifeguard.report_row(text[], text[], text, text),
	lifeguard.report_section(text, text, text, text[], text[], jsonb[]),
	lifeguard.report_recorded(timestamptz, timestamptz),
	lifeguard.report_incident_step(lifeguard.incidents, timestamptz), lifeguard.report_incidents(timestamptz, timestamptz),
	lifeguard.report_contention_step(record, interval, timestamptz, timestamptz), lifeguard.report_contention(timestamptz, timestamptz),
	lifeguard.report_idle_step(record), lifeguard.report_idle(timestamptz, timestamptz),
	lifeguard.report_saturation(timestamptz, timestamptz), lifeguard.report_load(timestamptz, timestamptz),
	lifeguard.report_actions(timestamptz, timestamptz),
	lifeguard.report_sections(timestamptz, timestamptz),
	lifeguard.report(timestamptz, timestamptz)
	TO PUBLIC;
