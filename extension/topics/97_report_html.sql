-- The same report as one page for a browser, with charts: no network, no script.
-- The page is ASCII: whatever is not is written by its number, so that it is right
-- in whatever encoding it is sent and stored.

CREATE FUNCTION lifeguard.report_html_text(value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	SET standard_conforming_strings = on AS $$
DECLARE
	plain text := replace(replace(replace(replace(replace(
		regexp_replace(value, '[\u0001-\u001f\u007f]+', ' ', 'g'),
		'&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;');
	bytes bytea;
	result text := '';
	at integer := 0;
	more integer;
	code integer;
BEGIN
	IF plain IS NULL OR plain !~ '[^\u0001-\u007f]' THEN
		RETURN plain;
	END IF;
	BEGIN
		-- what an SQL_ASCII database holds may be UTF-8, or nothing that is known
		bytes := convert_to(plain, 'UTF8');
	EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character OR undefined_function THEN
		RETURN regexp_replace(plain, '[^\u0001-\u007f]', '?', 'g');
	END;
	WHILE at < length(bytes) LOOP
		code := get_byte(bytes, at);
		more := CASE WHEN code < 128 THEN 0 WHEN code < 224 THEN 1 WHEN code < 240 THEN 2 ELSE 3 END;
		code := CASE more WHEN 0 THEN code WHEN 1 THEN code & 31 WHEN 2 THEN code & 15 ELSE code & 7 END;
		FOR i IN 1 .. more LOOP
			code := (code << 6) | (get_byte(bytes, at + i) & 63);
		END LOOP;
		at := at + 1 + more;
		result := result || CASE
			WHEN code < 128 THEN chr(code)
			-- controls, and what turns the direction of writing
			WHEN code <= 159 OR code IN (1564, 8206, 8207, 65534, 65535) OR code BETWEEN 8232 AND 8238
				OR code BETWEEN 8294 AND 8297 THEN ' '
			ELSE '&#' || code || ';' END;
	END LOOP;
	RETURN result;
END
$$;
COMMENT ON FUNCTION lifeguard.report_html_text(text) IS
'A text for a page: nothing in it is markup, all of it is ASCII.';

-- What a chart spans: from the first that was recorded, so that three minutes fill
-- it as well as a month does; and how much one step of its curves is the mean of.
CREATE FUNCTION lifeguard.report_axis(from_time timestamptz, to_time timestamptz,
	OUT a timestamptz, OUT b timestamptz, OUT step interval, OUT by_second boolean)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	span numeric;
	first_second timestamptz;
BEGIN
	SELECT min(m.minute) INTO a FROM lifeguard.report_minutes(from_time, to_time) m;
	IF a IS NULL THEN
		RETURN;				-- nothing to draw
	END IF;
	a := greatest(a, from_time);
	b := to_time;
	-- seconds are in memory alone, which a restart empties
	by_second := false;
	IF a > clock_timestamp() - interval '15 minutes' THEN
		SELECT min(c.second) INTO first_second FROM lifeguard.connection_seconds() c WHERE c.second >= a AND c.second < b;
		IF first_second < a + interval '1 minute' THEN
			a := first_second;
			by_second := true;
		END IF;
	END IF;
	span := extract(epoch FROM b - a);
	SELECT make_interval(secs => s) INTO step
	FROM unnest('{5,60,120,300,600,900,1800,3600,7200,14400,21600,43200,86400,172800,604800,1209600}'::double precision[]) s
	WHERE s >= span / 300 AND (by_second OR s >= 60) ORDER BY s LIMIT 1;
	step := coalesce(step, make_interval(secs => span::double precision / 300));
END
$$;
COMMENT ON FUNCTION lifeguard.report_axis(timestamptz, timestamptz) IS
'The time axis of a report''s charts; NULLs when there is nothing to draw.';

-- Points are an array of {"t": seconds since a, "v": [values]}, one per step, where
-- something was recorded.
CREATE FUNCTION lifeguard.report_connection_points(a timestamptz, b timestamptz, step interval, by_second boolean)
RETURNS jsonb
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
WITH seen AS (
	SELECT m.minute AS at, m.used, m.used_max, m.active, m.idle, m.idle_in_transaction + coalesce(m.idle_in_transaction_aborted, 0) AS in_transaction,
		m.waiting, m.waiting_max
	FROM lifeguard.report_minutes(a, b) m WHERE NOT by_second
	UNION ALL
	SELECT s.second, s.used, s.used_max, s.active, s.idle, s.idle_in_transaction + coalesce(s.idle_in_transaction_aborted, 0),
		s.waiting, s.waiting_max
	FROM lifeguard.connection_seconds() s WHERE by_second AND s.second >= a AND s.second < b
), steps AS (
	SELECT greatest(floor(extract(epoch FROM s.at - a) / extract(epoch FROM step)), 0) * extract(epoch FROM step) AS t,
		avg(s.used) AS used, max(s.used_max) AS used_max, avg(s.active) AS active, avg(s.idle) AS idle,
		avg(s.in_transaction) AS in_transaction, avg(s.waiting) AS waiting, max(s.waiting_max) AS waiting_max
	FROM seen s GROUP BY 1
)
SELECT coalesce(jsonb_agg(jsonb_build_object('t', s.t, 'v', jsonb_build_array(
	greatest(round(s.used - s.active - s.idle - s.in_transaction, 2), 0), round(s.idle, 2), round(s.in_transaction, 2),
	greatest(round(s.active - s.waiting, 2), 0), round(least(s.waiting, s.active), 2), s.used_max, round(s.waiting, 2), s.waiting_max)) ORDER BY s.t), '[]')
FROM steps s
$$;
COMMENT ON FUNCTION lifeguard.report_connection_points(timestamptz, timestamptz, interval, boolean) IS
'Points of the chart of connections: other, idle, idle in transaction, active, waiting, most used, waiting in all, most waiting.';

CREATE FUNCTION lifeguard.report_load_points(a timestamptz, b timestamptz, step interval, by_second boolean)
RETURNS jsonb
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
WITH seen AS (
	SELECT m.minute AS at, m.wait_event_type AS type, sum(m.active) AS active
	FROM lifeguard.report_load_minutes(a, b) m
	WHERE NOT by_second
	GROUP BY m.minute, m.wait_event_type
	UNION ALL
	SELECT s.second, s.wait_event_type, sum(s.average_active)
	FROM lifeguard.load_seconds() s WHERE by_second AND s.second >= a AND s.second < b
	GROUP BY s.second, s.wait_event_type
), steps AS (
	SELECT greatest(floor(extract(epoch FROM s.at - a) / extract(epoch FROM step)), 0) * extract(epoch FROM step) AS t,
		count(DISTINCT s.at) AS times, sum(s.active) FILTER (WHERE s.type = 'CPU') AS cpu,
		sum(s.active) FILTER (WHERE s.type = 'IO') AS io, sum(s.active) FILTER (WHERE s.type = 'LWLock') AS lwlock,
		sum(s.active) FILTER (WHERE s.type = 'IPC') AS ipc, sum(s.active) FILTER (WHERE s.type = 'Client') AS client,
		sum(s.active) FILTER (WHERE s.type = 'Lock') AS lock,
		sum(s.active) FILTER (WHERE s.type IS NULL OR s.type NOT IN ('CPU', 'IO', 'LWLock', 'IPC', 'Client', 'Lock')) AS other
	FROM seen s GROUP BY 1
)
SELECT coalesce(jsonb_agg(jsonb_build_object('t', s.t, 'v', (SELECT jsonb_agg(round(coalesce(v.v, 0) / s.times, 3) ORDER BY v.n)
	FROM unnest(ARRAY[s.cpu, s.io, s.lwlock, s.ipc, s.client, s.other, s.lock]) WITH ORDINALITY v (v, n))) ORDER BY s.t), '[]')
FROM steps s
$$;
COMMENT ON FUNCTION lifeguard.report_load_points(timestamptz, timestamptz, interval, boolean) IS
'Points of the chart of load: CPU, IO, LWLock, IPC, Client, other, Lock.';

-- A plot is 890 wide, begins at 54 and stands on its own height; y grows downwards.
CREATE FUNCTION lifeguard.report_svg_areas(points jsonb, step numeric, span numeric, top numeric, height integer, classes text[])
RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
WITH stacked AS (
	SELECT (p.point->>'t')::numeric AS t, v.n AS series, v.value::numeric AS value,
		sum(v.value::numeric) OVER (PARTITION BY p.point->>'t' ORDER BY v.n) AS upper,
		-- a step without a point begins another island
		floor((p.point->>'t')::numeric / step) - row_number() OVER (PARTITION BY v.n ORDER BY (p.point->>'t')::numeric) AS island
	FROM jsonb_array_elements(points) p (point), jsonb_array_elements_text(p.point->'v') WITH ORDINALITY v (value, n)
	WHERE v.n <= cardinality(classes)
), drawn AS (
	SELECT s.series, s.island, s.t, round(54 + 890 * s.t / span, 1) AS x1, round(54 + 890 * least(s.t + step, span) / span, 1) AS x2,
		round(height * (1 - s.upper / top), 1) AS y1, round(height * (1 - (s.upper - s.value) / top), 1) AS y2, s.value
	FROM stacked s
), paths AS (
	SELECT d.series, format('M%s,%s', min(d.x1), (array_agg(d.y2 ORDER BY d.t))[1])
		|| string_agg(format('V%sH%s', d.y1, d.x2), '' ORDER BY d.t)
		|| string_agg(format('V%sH%s', d.y2, d.x1), '' ORDER BY d.t DESC) || 'Z' AS path
	FROM drawn d GROUP BY d.series, d.island HAVING max(d.value) > 0
)
SELECT coalesce(string_agg(format('<path class="%s" d="%s"/>', classes[p.series], p.path), E'\n' ORDER BY p.series), '')
FROM paths p
$$;
COMMENT ON FUNCTION lifeguard.report_svg_areas(jsonb, numeric, numeric, numeric, integer, text[]) IS
'Stacked areas of a chart, a path for each series and stretch without a gap.';

CREATE FUNCTION lifeguard.report_svg_line(points jsonb, place integer, step numeric, span numeric, top numeric, height integer, class text)
RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
WITH drawn AS (
	SELECT (p.point->>'t')::numeric AS t, least((p.point->>'t')::numeric + step, span) AS ends,
		round(height * (1 - (p.point->'v'->>(place - 1))::numeric / top), 1) AS y,
		floor((p.point->>'t')::numeric / step) - row_number() OVER (ORDER BY (p.point->>'t')::numeric) AS island
	FROM jsonb_array_elements(points) p (point)
)
SELECT coalesce(string_agg(l.line, ''), '') FROM (
	SELECT format('<path class="%s" d="M%s,%s%s"/>', class, round(54 + 890 * min(d.t) / span, 1), (array_agg(d.y ORDER BY d.t))[1],
		string_agg(format('V%sH%s', d.y, round(54 + 890 * d.ends / span, 1)), '' ORDER BY d.t)) AS line
	FROM drawn d GROUP BY d.island) l
$$;
COMMENT ON FUNCTION lifeguard.report_svg_line(jsonb, integer, numeric, numeric, numeric, integer, text) IS
'One value of the points of a chart as a line.';

-- Where a chart ends at the top: a round figure not below the most it shows.
CREATE FUNCTION lifeguard.report_top(most numeric, OUT top numeric, OUT tick numeric)
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
SELECT trim_scale(ceil(greatest(most, 1) / t.tick) * t.tick), trim_scale(t.tick)
FROM (SELECT min(u.unit * power(10::numeric, e.e)) AS tick
	  FROM unnest('{1,2,5}'::numeric[]) u (unit), generate_series(0, 9) e (e)
	  WHERE u.unit * power(10::numeric, e.e) >= greatest(most, 1) / 6) t
$$;
COMMENT ON FUNCTION lifeguard.report_top(numeric) IS
'The upper end of a chart''s scale, and the distance of its ticks.';

CREATE FUNCTION lifeguard.report_svg_frame(a timestamptz, b timestamptz, points jsonb, step numeric, top numeric, tick numeric, height integer, foot integer)
RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
WITH axis AS (
	SELECT extract(epoch FROM b - a) AS span
), ticks AS (
	SELECT min(s) AS s FROM axis, unnest('{10,15,30,60,120,300,600,900,1800,3600,7200,10800,21600,43200,86400,172800,604800,2592000,31536000}'::numeric[]) s
	WHERE s >= axis.span / 9
), moments AS (
	SELECT g.at, round(54 + 890 * extract(epoch FROM g.at - a) / axis.span, 1) AS x, ticks.s, row_number() OVER (ORDER BY g.at) AS n
	FROM axis, ticks, generate_series(date_trunc('day', a), b,
		-- where clocks are put forward and back not every day has 24 hours
		CASE WHEN ticks.s % 86400 = 0 THEN make_interval(days => (ticks.s / 86400)::integer) ELSE make_interval(secs => ticks.s::double precision) END) g (at)
	WHERE g.at >= a AND g.at <= b
), gaps AS (
	SELECT lag((p.point->>'t')::numeric) OVER (ORDER BY (p.point->>'t')::numeric) + step AS t1, (p.point->>'t')::numeric AS t2
	FROM jsonb_array_elements(points) p (point)
)
SELECT coalesce((SELECT string_agg(format('<rect class="gap" x="%s" y="0" width="%s" height="%s"><title>not recorded</title></rect>',
			round(54 + 890 * g.t1 / axis.span, 1), round(890 * (g.t2 - g.t1) / axis.span, 1), height), E'\n' ORDER BY g.t1)
		FROM gaps g, axis WHERE g.t2 > g.t1), '')
	|| (SELECT string_agg(format('<line class="%s" x1="54" x2="944" y1="%s" y2="%s"/><text class="y" x="48" y="%s">%s</text>',
			CASE WHEN v.v = 0 THEN 'base' ELSE 'grid' END, round(height * (1 - v.v / top), 1), round(height * (1 - v.v / top), 1),
			round(height * (1 - v.v / top) + 4, 1), v.v), E'\n' ORDER BY v.v)
		FROM generate_series(0, top, tick) v (v))
	|| coalesce((SELECT string_agg(format('<line class="tick" x1="%s" x2="%s" y1="%s" y2="%s"/><text class="x" x="%s" y="%s">%s</text>',
			m.x, m.x, foot, foot + 5, m.x, foot + 18,
			CASE WHEN m.s >= 86400 THEN to_char(m.at, 'YYYY-MM-DD') WHEN m.s < 60 THEN to_char(m.at, 'HH24:MI:SS') ELSE to_char(m.at, 'HH24:MI') END)
			|| CASE WHEN m.s < 86400 AND (m.n = 1 OR m.at = date_trunc('day', m.at))
				THEN format('<text class="x day" x="%s" y="%s">%s</text>', m.x, foot + 33, to_char(m.at, 'YYYY-MM-DD')) ELSE '' END, E'\n' ORDER BY m.at)
		FROM moments m), '')
$$;
COMMENT ON FUNCTION lifeguard.report_svg_frame(timestamptz, timestamptz, jsonb, numeric, numeric, numeric, integer, integer) IS
'Axes, grid and gaps of a chart.';

-- Incidents lie behind every chart, numbered as in their table.
CREATE FUNCTION lifeguard.report_svg_incidents(from_time timestamptz, to_time timestamptz, a timestamptz, b timestamptz, height integer)
RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
SELECT coalesce(string_agg(format('<g><title>incident %s: %s</title><rect class="incident" x="%s" y="0" width="%s" height="%s"/><text class="number" x="%s" y="-5">%s</text></g>',
	i.n, lifeguard.report_html_text(i.period), i.x1, greatest(i.x2 - i.x1, 2), height, (i.x1 + i.x2) / 2, i.n), E'\n' ORDER BY i.n), '')
FROM (SELECT row_number() OVER (ORDER BY w.seconds_lost DESC NULLS LAST, w.since) AS n,
		lifeguard.report_time(w.since) || ' to ' || coalesce(lifeguard.report_time(w.until), 'now') AS period,
		round(54 + 890 * extract(epoch FROM greatest(w.since, a) - a) / extract(epoch FROM b - a), 1) AS x1,
		round(54 + 890 * extract(epoch FROM least(coalesce(w.until, b), b) - a) / extract(epoch FROM b - a), 1) AS x2,
		w.since < b AND coalesce(w.until, b) >= a AS drawn
	  FROM lifeguard.incidents w
	  WHERE w.since < to_time AND coalesce(w.until, to_time) >= from_time
	  ORDER BY w.seconds_lost DESC NULLS LAST, w.since LIMIT 10) i
WHERE i.drawn
$$;
COMMENT ON FUNCTION lifeguard.report_svg_incidents(timestamptz, timestamptz, timestamptz, timestamptz, integer) IS
'The incidents of a period, the first two moments, as bands in a chart from the third to the fourth.';

-- The longest waits as bars, and actions as marks.
CREATE FUNCTION lifeguard.report_svg_waits(a timestamptz, b timestamptz, OUT bars text, OUT bar_number bigint, OUT marks text, OUT mark_number bigint)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
WITH longest AS (
	SELECT w.wait_start, w.duration, w.relation_name, w.locktype, w.waiter_application_name, w.waiter_usename, w.root_application_name,
		w.root_usename, w.ended_by
	FROM lifeguard.report_waits w
	WHERE (w.wait_start >= a - interval '1 hour' OR w.duration >= interval '1 hour' AND w.wait_start < a - interval '1 hour')
		AND w.wait_start < b AND w.wait_start + w.duration >= a
	ORDER BY w.duration DESC NULLS LAST, w.wait_start LIMIT 24
), drawn AS (
	SELECT l.*, row_number() OVER (ORDER BY l.wait_start, l.duration) AS lane,
		round(54 + 890 * extract(epoch FROM greatest(l.wait_start, a) - a) / extract(epoch FROM b - a), 1) AS x1,
		round(54 + 890 * extract(epoch FROM least(l.wait_start + l.duration, b) - a) / extract(epoch FROM b - a), 1) AS x2
	FROM longest l
), acts AS (
	SELECT l.*, round(54 + 890 * extract(epoch FROM l.at - a) / extract(epoch FROM b - a), 1) AS x
	FROM lifeguard.ledger l
	WHERE l.at >= a AND l.at < b
	ORDER BY l.signal IS NULL, l.waiters_freed DESC NULLS LAST, l.at LIMIT 120
)
SELECT d.bars, d.number, m.marks, m.number
FROM (SELECT coalesce(string_agg(format('<rect class="bar%s" x="%s" y="%s" width="%s" height="4"><title>%s</title></rect>',
			CASE WHEN w.ended_by = 'granted' THEN '' ELSE ' cut' END, w.x1, (w.lane - 1) * 6, greatest(w.x2 - w.x1, 2),
			lifeguard.report_html_text(format('%s waited %s for %s, behind %s, from %s; ended by: %s', lifeguard.report_who(w.waiter_application_name, w.waiter_usename, NULL),
				lifeguard.report_duration(extract(epoch FROM w.duration)), lifeguard.report_line(coalesce(w.relation_name, w.locktype), 130),
				lifeguard.report_who(w.root_application_name, w.root_usename, NULL), lifeguard.report_time(w.wait_start), w.ended_by))), E'\n'), '') AS bars,
		count(*) AS number FROM drawn w) d,
	(SELECT coalesce(string_agg(format('<path class="%s" d="M%s,0l5,6l-5,6l-5,-6Z"><title>%s</title></path>',
			CASE WHEN v.signal IS NULL THEN 'mark only' WHEN v.policy IS NULL THEN 'mark hand' ELSE 'mark' END, v.x,
			lifeguard.report_html_text(format('%s: %s, %s, at %s', coalesce('policy ' || lifeguard.report_line(v.policy, 64), 'by hand'),
				lifeguard.report_line(v.outcome, 80), lifeguard.report_who(v.application_name, v.usename, NULL), lifeguard.report_time(v.at)))), E'\n'), '') AS marks,
		count(*) AS number FROM acts v) m
$$;
COMMENT ON FUNCTION lifeguard.report_svg_waits(timestamptz, timestamptz) IS
'The longest lock waits of a period as bars, and actions as marks.';

CREATE FUNCTION lifeguard.report_svg(key text, title text, description text, height integer, content text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT format('<div class="chart"><svg viewBox="0 0 960 %s" role="img" aria-labelledby="%s-title %s-description"><title id="%s-title">%s</title><desc id="%s-description">%s</desc><g transform="translate(0,20)">',
	height + 20, key, key, key, title, key, description) || E'\n' || content || E'\n</g></svg></div>\n'
$$;
COMMENT ON FUNCTION lifeguard.report_svg(text, text, text, integer, text) IS
'A chart, with what it is called and says for those who cannot see it.';

CREATE FUNCTION lifeguard.report_legend(entries text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT '<ul class="legend">' || string_agg(format('<li><svg viewBox="0 0 14 12" aria-hidden="true">%s</svg>%s</li>',
	CASE WHEN e.class LIKE 'line%' OR e.class = 'limit' THEN format('<path class="%s" d="M0,6H14"/>', e.class)
		WHEN e.class LIKE 'mark%' THEN format('<path class="%s" d="M7,0l5,6l-5,6l-5,-6Z"/>', e.class)
		ELSE format('<rect class="%s" width="14" height="12"/>', e.class) END, e.label), '' ORDER BY e.n) || E'</ul>\n'
FROM (SELECT entries[2 * n - 1] AS class, entries[2 * n] AS label, n FROM generate_series(1, cardinality(entries) / 2) n) e
$$;
COMMENT ON FUNCTION lifeguard.report_legend(text[]) IS
'The legend of a chart, from class, label, ...';

CREATE FUNCTION lifeguard.report_charts(from_time timestamptz, to_time timestamptz,
	OUT connections text, OUT load text, OUT waits text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	x record;
	points jsonb;
	loads jsonb;
	step numeric;
	span numeric;
	limit_line integer;
	most numeric;
	y record;
	w record;
	bands text;
	lanes integer;
BEGIN
	SELECT * INTO x FROM lifeguard.report_axis(from_time, to_time);
	IF x.a IS NULL THEN
		RETURN;
	END IF;
	points := lifeguard.report_connection_points(x.a, x.b, x.step, x.by_second);
	loads := lifeguard.report_load_points(x.a, x.b, x.step, x.by_second);
	step := extract(epoch FROM x.step);
	span := extract(epoch FROM x.b - x.a);

	SELECT max(m.usable) INTO limit_line FROM lifeguard.report_minutes(x.a, x.b) m;
	SELECT max((p.point->'v'->>5)::numeric) INTO most FROM jsonb_array_elements(points) p (point);
	y := lifeguard.report_top(greatest(most, limit_line * 1.04));
	bands := lifeguard.report_svg_incidents(from_time, to_time, x.a, x.b, 220);
	connections := lifeguard.report_legend(ARRAY['limit', 'usable slots', 'line', 'most at one time', 'waiting', 'waiting for a lock', 'active', 'active otherwise',
			'intx', 'idle in transaction', 'idle', 'idle', 'other', 'other'])
		|| lifeguard.report_svg('connections', 'Connections by state over time',
			format('Stacked areas, the mean of each %s. At most %s connections at one time; %s slots are usable.',
				lifeguard.report_duration(step), most, limit_line), 262,
			bands || lifeguard.report_svg_frame(x.a, x.b, points, step, y.top, y.tick, 220, 220)
			|| lifeguard.report_svg_areas(points, step, span, y.top, 220, '{other,idle,intx,active,waiting}')
			|| lifeguard.report_svg_line(points, 6, step, span, y.top, 220, 'line')
			|| format('<path class="limit" d="M54,%sH944"/><text class="label" x="944" y="%s">%s usable</text>', round(220 * (1 - limit_line / y.top), 1),
				round(220 * (1 - limit_line / y.top) - 5, 1), limit_line));

	SELECT max((SELECT sum(v.v::numeric) FROM jsonb_array_elements_text(p.point->'v') v (v))) INTO most FROM jsonb_array_elements(loads) p (point);
	y := lifeguard.report_top(coalesce(most, 0) * 1.04);
	load := lifeguard.report_legend(ARRAY['waiting', 'Lock', 'other', 'other', 'client', 'Client', 'ipc', 'IPC', 'lwlock', 'LWLock', 'io', 'IO', 'active', 'CPU'])
		|| lifeguard.report_svg('load', 'Active sessions by what they wait for, over time',
			format('Stacked areas, the mean of each %s. At most %s sessions were active on average.', lifeguard.report_duration(step), round(coalesce(most, 0), 1)), 202,
			lifeguard.report_svg_incidents(from_time, to_time, x.a, x.b, 160) || lifeguard.report_svg_frame(x.a, x.b, loads, step, y.top, y.tick, 160, 160)
			|| lifeguard.report_svg_areas(loads, step, span, y.top, 160, '{active,io,lwlock,ipc,client,other,waiting}'));

	SELECT max((p.point->'v'->>7)::numeric) INTO most FROM jsonb_array_elements(points) p (point);
	SELECT * INTO w FROM lifeguard.report_svg_waits(x.a, x.b);
	y := lifeguard.report_top(coalesce(most, 0));
	lanes := greatest(w.bar_number, 1) * 6;
	waits := lifeguard.report_legend(ARRAY['waiting', 'sessions waiting; below, the longest waits', 'bar cut', 'wait not granted in the end', 'line hot', 'most at one time',
			'mark', 'policy acted', 'mark hand', 'by hand', 'mark only', 'only rehearsed or spared', 'incident', 'incident, by number'])
		|| lifeguard.report_svg('waits', 'Lock waits and actions over time',
			format('Sessions waiting for locks, at most %s at one time; below, the %s longest waits as bars and %s as marks.', coalesce(most, 0), w.bar_number,
				lifeguard.report_count(w.mark_number, 'action', 'actions')), 120 + 30 + lanes + 50,
			lifeguard.report_svg_incidents(from_time, to_time, x.a, x.b, 120 + 30 + lanes)
			|| lifeguard.report_svg_frame(x.a, x.b, points, step, y.top, y.tick, 120, 120 + 34 + lanes)
			|| lifeguard.report_svg_areas((SELECT jsonb_agg(jsonb_build_object('t', p.point->'t', 'v', jsonb_build_array(p.point->'v'->6)))
				FROM jsonb_array_elements(points) p (point)), step, span, y.top, 120, '{waiting}')
			|| lifeguard.report_svg_line(points, 8, step, span, y.top, 120, 'line hot')
			|| format('<text class="side" x="48" y="139">actions</text><g transform="translate(0,129)">%s</g>', w.marks)
			|| format('<text class="side" x="48" y="%s">waits</text><g transform="translate(0,152)">%s</g><line class="base" x1="54" x2="944" y1="%s" y2="%s"/>',
				152 + lanes / 2 + 3, w.bars, 154 + lanes, 154 + lanes));
END
$$;
COMMENT ON FUNCTION lifeguard.report_charts(timestamptz, timestamptz) IS
'The charts of a report; NULLs when there is nothing to draw.';

CREATE FUNCTION lifeguard.report_html_section(section jsonb, chart text, caption text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT format(E'<section aria-labelledby="%s-h">\n<h2 id="%s-h">%s</h2>\n', section->>'key', section->>'key', lifeguard.report_html_text(section->>'title'))
	|| coalesce('<p>' || lifeguard.report_html_text(section->'leads'->>0) || '</p>', '')
	|| CASE WHEN section->'leads' = '[]' AND section->'rows' = '[]' THEN '<p class="nothing">' || lifeguard.report_html_text(section->>'nothing') || '</p>' ELSE '' END
	|| coalesce(E'\n<figure>' || chart || '<figcaption>' || caption || E'</figcaption></figure>\n', '')
	|| coalesce((SELECT string_agg('<p>' || lifeguard.report_html_text(l.lead) || '</p>', E'\n' ORDER BY l.n)
		FROM jsonb_array_elements_text(section->'leads') WITH ORDINALITY l (lead, n) WHERE l.n > 1), '')
	|| CASE WHEN section->'rows' = '[]' THEN '' ELSE
		E'\n<div class="wide"><table><thead><tr><th scope="col" class="n">No.</th>'
		|| (SELECT string_agg(format('<th scope="col"%s>%s</th>', CASE WHEN h.label LIKE '#%' THEN ' class="n"' ELSE '' END,
				lifeguard.report_html_text(ltrim(h.label, '#'))), '' ORDER BY h.n)
			FROM jsonb_array_elements_text(section->'head') WITH ORDINALITY h (label, n))
		|| E'</tr></thead>\n'
		|| (SELECT string_agg('<tbody><tr><td class="n">' || r.n || '</td>'
				|| (SELECT string_agg(format('<td%s>%s</td>', CASE WHEN section->'head'->>(c.n - 1)::integer LIKE '#%' THEN ' class="n"' ELSE '' END,
						coalesce(lifeguard.report_html_text(c.cell), '')), '' ORDER BY c.n)
					FROM jsonb_array_elements_text(r.row->'cells') WITH ORDINALITY c (cell, n)) || '</tr>'
				|| CASE WHEN r.row->'notes' = '[]' AND r.row->>'step' IS NULL THEN '' ELSE
					format('<tr class="more"><td></td><td colspan="%s"><dl>', jsonb_array_length(section->'head'))
					|| coalesce((SELECT string_agg(format('<dt>%s</dt><dd>%s</dd>', lifeguard.report_html_text(p.label),
							CASE WHEN p.label ILIKE '%statement%' OR p.label = 'Tags'
								THEN '<code>' || lifeguard.report_html_text(r.row->'notes'->>(p.place + 1)) || '</code>'
								ELSE lifeguard.report_html_text(r.row->'notes'->>(p.place + 1)) END), '' ORDER BY p.place)
						FROM (SELECT (n.n - 1)::integer AS place, n.label FROM jsonb_array_elements_text(r.row->'notes') WITH ORDINALITY n (label, n)
							  WHERE n.n % 2 = 1) p), '')
					|| coalesce('<dt>Next step</dt><dd class="step">' || lifeguard.report_html_text(r.row->>'step')
						|| coalesce('<pre><code>' || lifeguard.report_html_text(r.row->>'call') || '</code></pre>', '') || '</dd>', '')
					|| '</dl></td></tr>' END
				|| '</tbody>', E'\n' ORDER BY r.n)
			FROM jsonb_array_elements(section->'rows') WITH ORDINALITY r (row, n))
		|| E'</table></div>\n' END
	|| E'</section>\n'
$$;
COMMENT ON FUNCTION lifeguard.report_html_section(jsonb, text, text) IS
'A section of a report as part of a page.';

CREATE FUNCTION lifeguard.report_html_style() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
SELECT $style$
:root { color-scheme: light dark;
	--paper: #fdfcf9; --ink: #22211e; --soft: #68655c; --rule: #ddd9cf; --shade: #f3f0e8;
	--active: #2b6ca8; --waiting: #d1571c; --intx: #ecac2c; --idle: #c5d0d6; --other: #949b9f;
	--io: #2a9d7c; --lwlock: #a866a4; --ipc: #6f5b9c; --client: #72b8df; --band: #d1571c; }
@media (prefers-color-scheme: dark) { :root {
	--paper: #17181a; --ink: #e4e1d9; --soft: #a09c92; --rule: #393a3b; --shade: #212326;
	--active: #5b9bd8; --waiting: #f07c3e; --intx: #e0b040; --idle: #4a555c; --other: #7d8488;
	--io: #45b592; --lwlock: #c288be; --ipc: #9684c6; --client: #8fcdf0; --band: #f07c3e; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
	font: 1.0625rem/1.55 Charter, "Bitstream Charter", "Sitka Text", Cambria, Georgia, serif; }
main { max-width: 66rem; margin: 0 auto; padding: 3.5rem 1.5rem 4rem; }
h1 { font-size: 2.1rem; line-height: 1.15; font-weight: 500; letter-spacing: -.01em; margin: 0 0 1rem; }
h2 { font-size: 1.3rem; font-weight: 600; margin: 0 0 .6rem; }
section { margin-top: 3.2rem; }
p { margin: 0 0 .5rem; max-width: 46rem; }
.headline { font-size: 1.2rem; line-height: 1.5; max-width: 40rem; }
.nothing, footer, figcaption { color: var(--soft); }
figure { margin: 1.4rem 0 1.6rem; }
figcaption { font-size: .9rem; margin-top: .3rem; max-width: 44rem; }
.chart, .wide { overflow-x: auto; }
.chart svg { display: block; width: 100%; min-width: 40rem; height: auto; }
.legend, svg text, table, footer { font-family: system-ui, "Segoe UI", "Helvetica Neue", "Liberation Sans", Arial, sans-serif; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .15rem 1.2rem; margin: 0 0 .3rem; padding: 0 0 0 3.4rem; font-size: .8rem; color: var(--soft); }
.legend svg { width: .9rem; height: .75rem; margin-right: .4rem; vertical-align: -.05rem; overflow: visible; }
svg text { font-size: 11.5px; fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .y, svg .side { text-anchor: end; } svg .x, svg .number { text-anchor: middle; } svg .label { text-anchor: end; fill: var(--ink); }
svg .number { fill: var(--band); font-weight: 600; }
path, rect { stroke: none; fill: none; } line { stroke-width: 1; }
.grid { stroke: var(--rule); stroke-dasharray: 1 3; } .base, .tick { stroke: var(--soft); }
.gap { fill: var(--shade); } .incident { fill: var(--band); fill-opacity: .13; }
.active { fill: var(--active); } .waiting { fill: var(--waiting); } .intx { fill: var(--intx); } .idle { fill: var(--idle); } .other { fill: var(--other); }
.io { fill: var(--io); } .lwlock { fill: var(--lwlock); } .ipc { fill: var(--ipc); } .client { fill: var(--client); }
.line { stroke: var(--ink); stroke-width: .8; stroke-opacity: .75; } .hot { stroke: var(--waiting); stroke-opacity: 1; }
.limit { stroke: var(--ink); stroke-width: 1.4; stroke-dasharray: 6 4; }
.bar { fill: var(--waiting); } .cut { fill: var(--soft); }
.mark { fill: var(--ink); stroke: var(--ink); stroke-width: 1.2; } .mark.hand { fill: var(--soft); } .mark.only { fill: var(--paper); }
table { border-collapse: collapse; width: 100%; font-size: .82rem; line-height: 1.45; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; color: var(--soft); vertical-align: bottom; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--ink); }
td { vertical-align: top; padding: .45rem 1rem .3rem 0; overflow-wrap: break-word; max-width: 18rem; } .more td { max-width: none; } th:last-child, td:last-child { padding-right: 0; }
.n { text-align: right; white-space: nowrap; overflow-wrap: normal; }
tbody + tbody tr:first-child td { border-top: 1px solid var(--rule); }
.more td { padding-top: 0; padding-bottom: .8rem; }
dl { margin: 0; display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .1rem 1rem; } dt { color: var(--soft); max-width: 10rem; } dd { margin: 0; max-width: 52rem; }
.step { font-weight: 500; }
code { font: .95em/1.45 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; overflow-wrap: anywhere; font-weight: 400; }
pre { margin: .35rem 0 0; padding: .5rem .7rem; background: var(--shade); border-radius: 3px; white-space: pre-wrap; }
footer { margin-top: 4rem; padding-top: .8rem; border-top: 1px solid var(--rule); font-size: .8rem; }
@media print { @page { margin: 16mm 14mm; }
	:root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #555; --rule: #ccc; --shade: #f2f2f2;
		--active: #2b6ca8; --waiting: #d1571c; --intx: #ecac2c; --idle: #c5d0d6; --other: #949b9f;
		--io: #2a9d7c; --lwlock: #a866a4; --ipc: #6f5b9c; --client: #72b8df; --band: #d1571c; }
	* { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
	body { font-size: 10.5pt; } main { max-width: none; padding: 0; } section { margin-top: 1.8rem; }
	.chart, .wide { overflow: visible; } .chart svg { min-width: 0; } table { font-size: 8pt; } .legend { font-size: 8pt; }
	figure, tbody, pre { break-inside: avoid; } h2, thead { break-after: avoid; } }
$style$
$$;
COMMENT ON FUNCTION lifeguard.report_html_style() IS
'The style sheet of a report''s page.';

CREATE FUNCTION lifeguard.report_html(since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	p record;
	c record;
	drawn record;
	sections jsonb;
	caption text;
	title text;
BEGIN
	SELECT * INTO p FROM lifeguard.report_period(report_html.since, report_html.until);
	sections := lifeguard.report_sections(p.from_time, p.to_time);
	SELECT * INTO c FROM lifeguard.report_charts(p.from_time, p.to_time);
	SELECT * INTO drawn FROM lifeguard.report_axis(p.from_time, p.to_time);
	title := format('Report of pg_lifeguard, %s to %s', to_char(p.from_time, 'YYYY-MM-DD HH24:MI'), to_char(p.to_time, 'YYYY-MM-DD HH24:MI'));
	caption := format('Means of %s; times in %s. Shaded grey: not recorded; shaded red: incidents.',
		lifeguard.report_duration(extract(epoch FROM drawn.step)), lifeguard.report_html_text(current_setting('TimeZone')));
	RETURN format(E'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="UTF-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>%s</title>\n<style>%s</style>\n</head>\n<body>\n<main>\n<h1>%s</h1>\n',
			title, lifeguard.report_html_style(), 'Report of pg_lifeguard')
		-- the period
		|| format(E'<p class="headline">%s</p>\n', lifeguard.report_html_text(sections->0->'leads'->>0))
		|| (SELECT string_agg(lifeguard.report_html_section(s.section #- CASE WHEN s.n = 1 THEN '{leads,0}' ELSE '{}' END::text[],
				CASE s.section->>'key' WHEN 'saturation' THEN c.connections WHEN 'load' THEN c.load WHEN 'incidents' THEN c.waits END,
				caption), '' ORDER BY s.n)
			FROM jsonb_array_elements(sections) WITH ORDINALITY s (section, n))
		|| format(E'<footer>Written by pg_lifeguard at %s (%s).</footer>\n</main>\n</body>\n</html>\n', lifeguard.report_time(now()),
			lifeguard.report_html_text(current_setting('TimeZone')));
END
$$;
COMMENT ON FUNCTION lifeguard.report_html(timestamptz, timestamptz) IS
'What report() tells, as one page for a browser, with charts of connections, load, lock waits and actions. It needs no network and no script, and is ASCII whatever the encoding of the database.';

GRANT EXECUTE ON FUNCTION lifeguard.report_html_text(text), lifeguard.report_axis(timestamptz, timestamptz),
	lifeguard.report_connection_points(timestamptz, timestamptz, interval, boolean),
	lifeguard.report_load_points(timestamptz, timestamptz, interval, boolean),
	lifeguard.report_svg_areas(jsonb, numeric, numeric, numeric, integer, text[]),
	lifeguard.report_svg_line(jsonb, integer, numeric, numeric, numeric, integer, text), lifeguard.report_top(numeric),
	lifeguard.report_svg_frame(timestamptz, timestamptz, jsonb, numeric, numeric, numeric, integer, integer),
	lifeguard.report_svg_incidents(timestamptz, timestamptz, timestamptz, timestamptz, integer), lifeguard.report_svg_waits(timestamptz, timestamptz),
	lifeguard.report_svg(text, text, text, integer, text), lifeguard.report_legend(text[]),
	lifeguard.report_charts(timestamptz, timestamptz), lifeguard.report_html_section(jsonb, text, text),
	lifeguard.report_html_style(), lifeguard.report_html(timestamptz, timestamptz)
	TO PUBLIC;
