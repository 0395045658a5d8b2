-- How reports write what sessions called themselves and ran: on one line, clipped,
-- and so that it is nothing but text wherever it stands.  A function's body is
-- parsed when it is called, with the caller's standard_conforming_strings: where
-- backslashes stand in one, that is set.

CREATE FUNCTION lifeguard.report_line(value text, most integer DEFAULT 200) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	SET standard_conforming_strings = on AS $$
DECLARE
	line text := regexp_replace(value, '[\u0001-\u0020\u007f]+', ' ', 'g');
BEGIN
	-- controls beyond ASCII, and what turns the direction of writing or cannot be seen
	IF getdatabaseencoding() = 'UTF8' THEN
		line := regexp_replace(line, '[\u0080-\u009f\u061c\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]+', ' ', 'g');
	ELSIF getdatabaseencoding() ~ '^(LATIN|ISO_8859)' THEN
		line := regexp_replace(line, '[\u0080-\u009f]+', ' ', 'g');
	END IF;
	line := btrim(line);
	IF length(line) <= most THEN
		RETURN line;
	END IF;
	line := left(line, most - 3);
	-- characters are bytes there: what may be UTF-8 is not cut within a character
	IF getdatabaseencoding() = 'SQL_ASCII' THEN
		line := regexp_replace(line, '([\u00c0-\u00df]|[\u00e0-\u00ef][\u0080-\u00bf]?|[\u00f0-\u00f7][\u0080-\u00bf]{0,2})$', '');
	END IF;
	RETURN line || '...';
END
$$;
COMMENT ON FUNCTION lifeguard.report_line(text, integer) IS
'A text on one line: without control characters, at most so many characters long.';

-- In a report's calls stand no bytes that a page, a table or a terminal could take
-- for its own.
CREATE FUNCTION lifeguard.report_escape(value text, safe text, ascii_escape text, wide_escape text)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	SET standard_conforming_strings = on AS $$
SELECT string_agg(CASE
	WHEN c.c ~ safe THEN c.c
	WHEN c.c ~ '[\u0001-\u007f]' THEN ascii_escape || lpad(to_hex(ascii(c.c)), 2, '0')
	WHEN getdatabaseencoding() = 'UTF8'
		AND c.c ~ '[\u0080-\u009f\u061c\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]'
		THEN wide_escape || lpad(to_hex(ascii(c.c)), 4, '0')
	ELSE c.c END, '' ORDER BY c.n)
FROM string_to_table(value, NULL) WITH ORDINALITY c (c, n)
$$;
COMMENT ON FUNCTION lifeguard.report_escape(text, text, text, text) IS
'Writes every character that is not safe by its number; made for report_literal() and report_identifier().';

CREATE FUNCTION lifeguard.report_literal(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	SET standard_conforming_strings = on AS $$
SELECT CASE WHEN value ~ '^[-A-Za-z0-9 _./:@%+=,]*$' THEN '''' || value || ''''
	ELSE 'E''' || lifeguard.report_escape(value, '[-A-Za-z0-9 _./:@%+=,]', '\x', '\u') || '''' END
$$;
COMMENT ON FUNCTION lifeguard.report_literal(text) IS
'An SQL literal of that text.';

CREATE FUNCTION lifeguard.report_identifier(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	SET standard_conforming_strings = on AS $$
SELECT CASE WHEN value ~ '^[-A-Za-z0-9 _.]*$' THEN quote_ident(value)
	ELSE 'U&"' || lifeguard.report_escape(value, '[-A-Za-z0-9 _.]', '\00', '\') || '"' END
$$;
COMMENT ON FUNCTION lifeguard.report_identifier(text) IS
'An SQL identifier of that name.';

CREATE FUNCTION lifeguard.report_duration(seconds numeric) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
SELECT CASE
	WHEN seconds < 0.9995 THEN to_char(seconds * 1000, 'FM9990') || ' ms'
	WHEN seconds < 59.95 THEN to_char(seconds, 'FM990.0') || ' s'
	-- a remainder of none is not said
	WHEN seconds < 3599.5 THEN div(round(seconds), 60) || ' min' || coalesce(' ' || nullif(round(seconds) % 60, 0) || ' s', '')
	WHEN seconds < 86370 THEN div(round(seconds / 60), 60) || ' h' || coalesce(' ' || nullif(round(seconds / 60) % 60, 0) || ' min', '')
	ELSE div(round(seconds / 3600), 24) || ' d' || coalesce(' ' || nullif(round(seconds / 3600) % 24, 0) || ' h', '')
END
$$;
COMMENT ON FUNCTION lifeguard.report_duration(numeric) IS
'Seconds as people say them: 250 ms, 12.5 s, 3 min 5 s, 2 h 10 min.';

CREATE FUNCTION lifeguard.report_bytes(bytes bigint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
SELECT CASE
	WHEN bytes < 10000 THEN bytes || ' bytes'
	WHEN bytes < 10000000 THEN round(bytes / 1024.0) || ' kB'
	ELSE round(bytes / 1048576.0) || ' MB'
END
$$;
COMMENT ON FUNCTION lifeguard.report_bytes(bigint) IS
'Bytes as people say them: 800 bytes, 64 kB, 180 MB.';

CREATE FUNCTION lifeguard.report_count(number bigint, one text, many text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
SELECT format('%s %s', number, CASE WHEN number = 1 THEN one ELSE many END)
$$;
COMMENT ON FUNCTION lifeguard.report_count(bigint, text, text) IS
'A number of things: 1 wait, 2 waits.';

CREATE FUNCTION lifeguard.report_time(at timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
SELECT to_char(at, 'YYYY-MM-DD HH24:MI:SS')
$$;
COMMENT ON FUNCTION lifeguard.report_time(timestamptz) IS
'A moment in the session''s time zone, which the head of a report names.';

CREATE FUNCTION lifeguard.report_moment(at timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
SELECT '''' || to_char(at, 'YYYY-MM-DD HH24:MI:SSOF') || ''''
$$;
COMMENT ON FUNCTION lifeguard.report_moment(timestamptz) IS
'A moment as an SQL literal, to the second.';

CREATE FUNCTION lifeguard.report_who(application_name text, usename name, datname name) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
SELECT coalesce(nullif(lifeguard.report_line(application_name, 64), ''), 'no application name')
	|| coalesce(' as ' || lifeguard.report_line(usename, 64), '')
	|| coalesce(' in ' || lifeguard.report_line(datname, 64), '')
$$;
COMMENT ON FUNCTION lifeguard.report_who(text, name, name) IS
'Application, role and database in one phrase.';

-- A limit well below what did harm: whole figures, at most a quarter of it.
CREATE FUNCTION lifeguard.report_limit(seconds numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
SELECT coalesce(max(s), 1) FROM unnest('{1,2,5,10,30,60,300,1800}'::numeric[]) s WHERE s <= seconds / 4
$$;
COMMENT ON FUNCTION lifeguard.report_limit(numeric) IS
'The limit that reports suggest where something lasted so many seconds: 1 s to 30 min, at most a quarter of it if that is possible.';

CREATE FUNCTION lifeguard.report_interval(seconds numeric) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
SELECT CASE WHEN seconds % 60 = 0 THEN div(seconds, 60) || ' min' ELSE seconds || ' s' END
$$;
COMMENT ON FUNCTION lifeguard.report_interval(numeric) IS
'Such a limit as settings and policies take it.';

-- Arguments of create_policy() and replay_policy() that mean these sessions.  An
-- application is a LIKE pattern there; "_" is left as it is, to be read with ease.
CREATE FUNCTION lifeguard.report_filter(application_name text, usename name) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	SET standard_conforming_strings = on AS $$
SELECT CASE
	WHEN application_name <> '' THEN format(', applications => ARRAY[%s]',
		lifeguard.report_literal(replace(replace(application_name, '\', '\\'), '%', '\%')))
	WHEN usename IS NOT NULL THEN format(', roles => ARRAY[%s]', lifeguard.report_literal(usename))
	ELSE ''
END
$$;
COMMENT ON FUNCTION lifeguard.report_filter(text, name) IS
'Arguments for create_policy() that mean the sessions of an application, or else of a role.';

CREATE FUNCTION lifeguard.report_markdown(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	SET standard_conforming_strings = on AS $$
-- Within words "_" marks up nothing, nor does "*" between spaces: so statements
-- stay readable as plain text.
SELECT regexp_replace(regexp_replace(regexp_replace(regexp_replace(value,
	'([][\\`<>|~&])', '\\\1', 'g'),
	'(?<![[:alnum:]])_|_(?![[:alnum:]])', '\\_', 'g'),
	'(?<!\s)\*|\*(?!\s)', '\\*', 'g'),
	'(:)(?=//)|(?<=www)(\.)', '\\\1\2', 'gi')
$$;
COMMENT ON FUNCTION lifeguard.report_markdown(text) IS
'A line of text so that Markdown takes none of it for markup.';

-- How a section's rows, as 96_report.sql makes them, look in Markdown.
-- Columns as wide as their widest cell, so that it reads as plain text too.
CREATE FUNCTION lifeguard.report_table(head jsonb, rows jsonb) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
WITH cells AS (
	SELECT 0::bigint AS line, h.n AS place, h.label LIKE '#%' AS number, lifeguard.report_markdown(ltrim(h.label, '#')) AS cell
	FROM jsonb_array_elements_text(head) WITH ORDINALITY h (label, n)
	UNION ALL
	SELECT r.n, c.n, head->>(c.n - 1)::integer LIKE '#%', lifeguard.report_markdown(coalesce(c.cell, ''))
	FROM jsonb_array_elements(rows) WITH ORDINALITY r (row, n),
		jsonb_array_elements_text(r.row->'cells') WITH ORDINALITY c (cell, n)
	UNION ALL
	-- which row a note below is about
	SELECT 0, 0, true, 'No.'
	UNION ALL
	SELECT r.n, 0, true, r.n::text FROM jsonb_array_elements(rows) WITH ORDINALITY r (row, n)
), widths AS (
	SELECT c.*, max(length(c.cell)) OVER (PARTITION BY c.place) AS width FROM cells c
)
SELECT string_agg(l.text, E'\n' ORDER BY l.line)
FROM (
	SELECT w.line, '| ' || string_agg(CASE WHEN w.number THEN repeat(' ', w.width - length(w.cell)) || w.cell
		ELSE w.cell || repeat(' ', w.width - length(w.cell)) END, ' | ' ORDER BY w.place) || ' |'
	FROM widths w GROUP BY w.line
	UNION ALL
	SELECT 0.5, '|' || string_agg(CASE WHEN w.number THEN repeat('-', w.width + 1) || ':' ELSE repeat('-', w.width + 2) END, '|' ORDER BY w.place) || '|'
	FROM widths w WHERE w.line = 0) l (line, text)
$$;
COMMENT ON FUNCTION lifeguard.report_table(jsonb, jsonb) IS
'The table of a section in Markdown.';

CREATE FUNCTION lifeguard.report_notes(rows jsonb) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT string_agg(format(E'**%s.**\n%s%s', r.n,
	(SELECT string_agg(format(E'- %s: %s\n', p.label, lifeguard.report_markdown(r.row->'notes'->>(p.place + 1))), '' ORDER BY p.place)
	 FROM (SELECT (n.n - 1)::integer AS place, n.label FROM jsonb_array_elements_text(r.row->'notes') WITH ORDINALITY n (label, n)
		   WHERE n.n % 2 = 1) p),
	CASE WHEN r.row->>'step' IS NOT NULL THEN format(E'- Next step: %s\n', lifeguard.report_markdown(r.row->>'step'))
		|| coalesce(E'\n  ```sql\n  ' || (r.row->>'call') || E'\n  ```\n', '') END), E'\n' ORDER BY r.n)
FROM jsonb_array_elements(rows) WITH ORDINALITY r (row, n)
WHERE r.row->'notes' <> '[]' OR r.row->>'step' IS NOT NULL
$$;
COMMENT ON FUNCTION lifeguard.report_notes(jsonb) IS
'Notes, next steps and calls for the rows of a section in Markdown.';

GRANT EXECUTE ON FUNCTION lifeguard.report_line(text, integer), lifeguard.report_escape(text, text, text, text),
	lifeguard.report_literal(text), lifeguard.report_identifier(text), lifeguard.report_duration(numeric),
	lifeguard.report_bytes(bigint), lifeguard.report_count(bigint, text, text),
	lifeguard.report_time(timestamptz), lifeguard.report_moment(timestamptz),
	lifeguard.report_who(text, name, name), lifeguard.report_limit(numeric),
	lifeguard.report_interval(numeric), lifeguard.report_filter(text, name),
	lifeguard.report_markdown(text),
	lifeguard.report_table(jsonb, jsonb), lifeguard.report_notes(jsonb)
	TO PUBLIC;
