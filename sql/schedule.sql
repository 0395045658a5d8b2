-- Schedules: which minutes are in force.  The clock is an argument throughout.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_lifeguard;
RESET client_min_messages;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
SET search_path = pg_temp, lifeguard, pg_catalog;

-- How often a schedule is in force within some time, and in which minutes.
CREATE FUNCTION pg_temp.minutes(schedule text, except_schedule text, zone text,
	first timestamptz, until timestamptz, OUT n bigint, OUT local_minutes text)
LANGUAGE sql AS $$
SELECT count(*), string_agg(to_char(at AT TIME ZONE zone, 'DD HH24:MI'), ', ' ORDER BY at)
FROM generate_series(first, until - interval '1 minute', '1 minute') at
WHERE lifeguard.schedule_in_force(schedule, except_schedule, zone, at)
$$;
-- The days of a year with some minute in force; for schedules of one minute a day.
CREATE FUNCTION pg_temp.days(schedule text, except_schedule text, year integer)
RETURNS text LANGUAGE sql AS $$
SELECT string_agg(to_char(day, 'MM-DD'), ' ' ORDER BY day)
FROM generate_series(make_timestamptz(year, 1, 1, 0, 0, 0), make_timestamptz(year, 12, 31, 0, 0, 0), '1 day') day
WHERE lifeguard.schedule_in_force(schedule, except_schedule, 'UTC', day)
$$;

-- What can be written
SELECT * FROM (VALUES
	('* * * * *'), (' *	*  * *
 * '), ('0 3 * * *'), ('* 2-4 * * *'), ('*/5 * * * *'), ('10-30/5 * * * *'), ('0,5-10,*/20 * * * *'),
	('05 03 01 01 00'), ('0 0 $ * *'), ('0 0 1,$ * *'), ('* * * jan-MAR,Dec mon-FRI'),
	('* * * * fri-sun'), ('* * * * sun-sat'), ('* * * * 0-7'), ('* * * * 7'), ('*/999 * * * *'),
	('59 23 31 12 6'), ('0 0 * * *;0 1 * * *; 0 2 * * *'),
	('0 0 * * *;0 1 * * *;0 2 * * *;0 3 * * *;0 4 * * *;0 5 * * *;0 6 * * *;0 7 * * *')
) s (schedule) WHERE check_schedule(schedule) IS NOT NULL;

-- What cannot
SELECT schedule, check_schedule(schedule) FROM (VALUES
	(''), (E' \t\n'), (';'), ('* * * * *;'), ('* * * * *; ;* * * * *'),
	('* * * *'), ('* * * * * *'), ('always'), ('* * * * *,* * * * *'),
	('@daily'), ('@reboot'), ('@every 5 minutes'), (' @hourly;* * * * *'),
	('30 seconds'), ('1 SECOND'), ('* * * * *;5 seconds'),
	('60 * * * *'), ('61 * * * *'), ('* 24 * * *'), ('* * 0 * *'), ('* * 32 * *'), ('* * * 0 *'), ('* * * 13 *'), ('* * * * 8'),
	('1-60 * * * *'), ('* 5,24 * * *'), ('99999999999999999999 * * * *'), ('4294967297 * * * *'),
	('-5 * * * *'), ('5- * * * *'), ('1-5-9 * * * *'), ('1,,2 * * * *'), (',1 * * * *'), ('1, * * * *'),
	('30-10 * * * *'), ('* 22-6 * * *'), ('* * * dec-jan *'), ('* * * * fri-mon'), ('* * * * 7-1'), ('* * * * 5-0'),
	('5/15 * * * *'), ('*/0 * * * *'), ('*/ * * * *'), ('*/x * * * *'), ('1-9/-1 * * * *'), ('*/2/2 * * * *'), ('/5 * * * *'),
	('*-5 * * * *'), ('** * * * *'), ('? * * * *'), ('1.5 * * * *'), ('0x1 * * * *'), ('jan * * * *'), ('* * mon * *'),
	('* * * january *'), ('* * * mon *'), ('* * * * monday'), ('* * * * jan'), ('* * * * mon#1'), ('* * L * *'),
	('$ * * * *'), ('* $ * * *'), ('* * * $ *'), ('* * * * $'), ('* * $-3 * *'), ('* * 25-$ * *'), ('* * $/2 * *'), ('* * *,$$ * *'),
	('* * * * *;* * * * *;61 * * * *'),
	('0 0 * * *;0 1 * * *;0 2 * * *;0 3 * * *;0 4 * * *;0 5 * * *;0 6 * * *;0 7 * * *;0 8 * * *'),
	(repeat('1', 100) || ' * * * *'), (repeat('x', 100) || ' * * * *')
) s (schedule);
SELECT check_schedule(NULL) IS NULL AS nothing_to_check;

-- A schedule with a mistake is an error here, and so is an unknown zone
CREATE FUNCTION pg_temp.try(schedule text, except_schedule text, zone text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	RETURN lifeguard.schedule_in_force(schedule, except_schedule, zone, '2025-01-01 00:00Z');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', SQLSTATE, SQLERRM, NULLIF(hint, ''));
END
$$;
SELECT pg_temp.try('61 * * * *', NULL, 'UTC');
SELECT pg_temp.try('* * * * *', '', 'UTC');
SELECT pg_temp.try('* * * * *', NULL, 'Mars/Olympus');
SELECT pg_temp.try('* * * * *', NULL, '');
SELECT pg_temp.try('* * * * *', NULL, 'europe/berlin');
SELECT schedule_next('* * * * *', NULL, 'Mars/Olympus', '2025-01-01 00:00Z');
SELECT schedule_in_force(NULL, NULL, 'UTC', now()) IS NULL AS no_schedule,
	schedule_in_force('* * * * *', NULL, NULL, now()) IS NULL AS no_zone,
	schedule_in_force('* * * * *', NULL, 'UTC', NULL) IS NULL AS no_instant,
	schedule_next(NULL, NULL, 'UTC', now()) IS NULL AS no_next;

-- Lists, ranges and steps
SELECT schedule, n, left(local_minutes, 110) AS local_minutes
FROM (VALUES ('* * * * *'), ('0 3 * * *'), ('* 2-4 * * *'), ('*/25 */9 * * *'), ('10-30/5 0 * * *'),
	('1,3,58-59 23 * * *'), ('7-8,*/30,3 12 * * *'), ('*/60 */24 * * *'), ('0 22-23,0-1 * * *')) s (schedule),
	pg_temp.minutes(schedule, NULL, 'UTC', '2025-01-15', '2025-01-16');
-- from the first to the last instant of a minute
SELECT at, schedule_in_force('0 3 * * *', NULL, 'UTC', at)
FROM unnest('{2025-01-15 02:59:59.999999,2025-01-15 03:00,2025-01-15 03:00:59.999999,2025-01-15 03:01}'::timestamptz[]) at;

-- Several expressions, and exceptions from them
SELECT * FROM pg_temp.minutes('0 1 * * *; 30 2-3 * * *', NULL, 'UTC', '2025-01-15', '2025-01-16');
SELECT * FROM pg_temp.minutes('*/30 1-4 * * *', '0 2 * * *;* 3 * * *', 'UTC', '2025-01-15', '2025-01-16');
SELECT * FROM pg_temp.minutes('*/30 1-4 * * *', '* * * * wed', 'UTC', '2025-01-15', '2025-01-16');

-- Names, and Sunday's two numbers (2025-06-01 is one)
SELECT schedule, pg_temp.days(schedule, NULL, 2025) AS days
FROM (VALUES ('0 0 1 jan,APR-jun,12 *'), ('0 0 1-14 6 *'), ('0 0 * 6 sun'), ('0 0 * 6 0'), ('0 0 * 6 7'), ('0 0 * 6 SAT-sun'), ('0 0 * 6 6-7'),
	('0 0 * 6 sun-mon'), ('0 0 * 6 5-7/2'), ('0 0 * 6 */6')) s (schedule);

-- Both day fields: either will do when both are restricted
SELECT schedule, pg_temp.days(schedule, NULL, 2025) AS days
FROM (VALUES ('0 0 * 6 *'), ('0 0 11 6 *'), ('0 0 * 6 fri'), ('0 0 11 6 fri'), ('0 0 */10 6 sun'), ('0 0 1-31/10 6 sun'), ('0 0 11,12 6 */3'),
	('0 0 11,12 6 0-6/3'), ('0 0 *,11 6 fri'), ('0 0 11,* 6 fri'), ('0 0 $ 6 fri')) s (schedule);

-- Ends of months and years, leap days
SELECT year, pg_temp.days('0 0 $ * *', NULL, year) AS days FROM unnest('{2023,2024,2100,2400}'::int[]) year;
SELECT pg_temp.days('0 0 1,15,$ 2,3 *', NULL, 2025) AS "1, 15 and last";
SELECT pg_temp.days('0 0 31 * *', NULL, 2025) AS "31", pg_temp.days('0 0 31 * *', '0 0 $ * *', 2025) AS nothing,
	pg_temp.days('0 0 29 2 *', NULL, 2024) AS leap, pg_temp.days('0 0 29 2 *', NULL, 2025) AS common, pg_temp.days('0 0 29 2 *', NULL, 2100) AS century;
SELECT * FROM pg_temp.minutes('59 23 31 12 *; 0 0 1 1 *', NULL, 'Europe/Berlin', '2025-12-31 22:50Z', '2025-12-31 23:10Z');
SELECT * FROM pg_temp.minutes('59 23 31 12 *; 0 0 1 1 *', NULL, 'Asia/Kolkata', '2025-12-31 18:20Z', '2025-12-31 18:40Z');

-- Daylight saving: what does not exist is skipped, what occurs twice counts twice
SELECT zone, change, n, local_minutes
FROM (VALUES
	('Europe/Berlin', 'spring', '*/30 1-3 * * *', '2025-03-30 00:00Z'), ('Europe/Berlin', 'autumn', '*/30 1-3 * * *', '2025-10-26 00:00Z'),
	('America/New_York', 'spring', '*/30 1-3 * * *', '2025-03-09 05:00Z'), ('America/New_York', 'autumn', '*/30 1-3 * * *', '2025-11-02 05:00Z'),
	('Australia/Lord_Howe', 'spring', '*/15 1-2 * * *', '2025-10-04 13:30Z'), ('Australia/Lord_Howe', 'autumn', '*/15 1-2 * * *', '2025-04-05 13:00Z'),
	('Asia/Kolkata', 'none', '*/30 1-3 * * *', '2025-03-30 00:00Z')
) z (zone, change, schedule, first),
	pg_temp.minutes(schedule, NULL, zone, first::timestamptz, first::timestamptz + '24 hours');
SELECT zone, "after", schedule_next(schedule, NULL, zone, "after"::timestamptz)
FROM (VALUES
	('Europe/Berlin', '30 2 * * *', '2025-03-29 01:31Z'),		-- skips the 30th
	('Europe/Berlin', '30 2 * * *', '2025-10-26 00:30:30Z'),	-- is in force
	('Europe/Berlin', '30 2 * * *', '2025-10-26 00:31Z'),		-- again an hour later
	('Europe/Berlin', '30 2 * * *', '2025-10-26 01:31Z'),		-- and no third time
	('America/New_York', '59 1 * * *', '2025-11-02 05:59:59.9Z'),
	('America/New_York', '59 1 * * *', '2025-11-02 06:00Z'),
	('America/New_York', '0 3 * * *', '2025-03-09 06:59:59Z'),
	('America/New_York', '15 2 9 3 *', '2025-01-01 00:00Z'),	-- does not exist in 2025
	('Australia/Lord_Howe', '15 2 * * *', '2025-10-04 00:00Z'),
	('Australia/Lord_Howe', '45 1 * * *', '2025-04-05 14:46Z'),
	('Australia/Lord_Howe', '45 1 * * *', '2025-04-05 15:16Z'),
	('Asia/Kolkata', '0 0 * * *', '2025-04-05 15:16Z'),
	('<+0130>-01:30', '0 0 * * *', '2025-04-05 15:16Z'),		-- as POSIX writes a zone
	('Pacific/Apia', '0 0 30 12 *', '2011-01-01 00:00Z')		-- its 30 December 2011 did not take place
) s (zone, schedule, "after");

-- The next instant in force
SELECT schedule, except_schedule, schedule_next(schedule, except_schedule, 'UTC', "after"::timestamptz)
FROM (VALUES
	('* * * * *', NULL, '2025-06-15 12:34:56.789Z'), ('34 * * * *', NULL, '2025-06-15 12:34:56.789Z'), ('33 * * * *', NULL, '2025-06-15 12:34:56.789Z'),
	('34 12 15 6 *', '* * * * *', '2025-06-15 12:34Z'), ('0 0 1 1 *', NULL, '2025-01-01 00:01Z'), ('59 23 31 12 *', NULL, '2025-12-31 23:59:59.999999Z'),
	('0 0 29 2 *', NULL, '2025-01-01 00:00Z'), ('0 0 29 2 *', NULL, '2096-03-01 00:00Z'), ('* * 29 2 *', '* * * * 0-5', '2072-03-01 00:00Z'),
	('0 0 30 2 *', NULL, '2025-01-01 00:00Z'), ('0 0 31 2,4,6,9,11 *', NULL, '2025-01-01 00:00Z'), ('* 2-4 * * *', '* 1-5 * * *', '2025-01-01 00:00Z'),
	('* * * * *', '* * 1-30 * *; * 0-22 31 * *; 0-58 23 31 * *', '2025-01-01 00:00Z'), ('* * * * mon', '* * * * 1-6/5', '2025-01-01 00:00Z'),
	('1 0 1 1 *', NULL, '1999-12-31 23:59:59.5Z'), ('30 12 $ 2 *', NULL, '0001-01-01 00:00Z'), ('30 12 $ 2 *', NULL, '0044-03-15 00:00Z BC'),
	('* * * * *', NULL, 'infinity'), ('* * * * *', NULL, '-infinity'), ('0 0 1 1 *', NULL, '294276-06-01 00:00Z'),
	('* * * * *', NULL, '4714-11-24 00:00Z BC')
) s (schedule, except_schedule, "after");
SELECT schedule_in_force('* * * * *', NULL, 'UTC', 'infinity') AS infinity, schedule_in_force('* * * * *', NULL, 'UTC', '-infinity') AS "-infinity";

-- All of it again, minute by minute, over days on which offsets change, beside
-- the same conditions written in SQL: in_force, and next from the middle of
-- each minute against the first minute in force that follows.
CREATE TEMP TABLE span (zone text, first timestamptz, days integer);
INSERT INTO span VALUES
	('Europe/Berlin', '2025-03-28 00:00Z', 4), ('Europe/Berlin', '2025-10-24 00:00Z', 4), ('Europe/Berlin', '2024-02-28 00:00Z', 4),
	('America/New_York', '2025-03-08 00:00Z', 3), ('America/New_York', '2025-11-01 00:00Z', 3), ('America/New_York', '2025-12-30 00:00Z', 3),
	('Australia/Lord_Howe', '2025-04-04 00:00Z', 3), ('Australia/Lord_Howe', '2025-10-03 00:00Z', 3), ('Asia/Kolkata', '2025-02-27 00:00Z', 3),
	('Pacific/Apia', '2011-12-29 00:00Z', 3), ('UTC', '2100-02-27 00:00Z', 3);
CREATE TEMP TABLE rule (schedule text, except_schedule text, condition text);
INSERT INTO rule VALUES
	('* * * * *', NULL, 'true'),
	('*/7 1-3 * * *', NULL, 'mi % 7 = 0 AND h BETWEEN 1 AND 3'),
	('30 2 * * *', NULL, 'mi = 30 AND h = 2'),
	('0,59 * * * *', '* 2 * * *', 'mi IN (0, 59) AND h <> 2'),
	('3-50/11 */5 $ * *', NULL, 'mi IN (3, 14, 25, 36, 47) AND h % 5 = 0 AND last_day'),
	('45 1,2 29-31 2,3,10-12 sun', NULL, 'mi = 45 AND h IN (1, 2) AND mo IN (2, 3, 10, 11, 12) AND (d >= 29 OR wd = 0)'),
	('15 * */2 * sat-sun', NULL, 'mi = 15 AND d % 2 = 1 AND wd IN (0, 6)'),
	('*/20 * 1,28-30 * 1-5; * 23 * * *', '* * * * 3; 0 0 1 * *', '((mi % 20 = 0 AND (d = 1 OR d BETWEEN 28 AND 30 OR wd BETWEEN 1 AND 5)) OR h = 23) AND wd <> 3 AND NOT (mi = 0 AND h = 0 AND d = 1)'),
	('0 0 1 1 *', NULL, 'mi = 0 AND h = 0 AND d = 1 AND mo = 1'),
	('* * * * *', '*/2 * * * *; 1-59/2 0-11 * * *', 'mi % 2 = 1 AND h >= 12');
CREATE TEMP TABLE minute AS
SELECT zone, first, at, extract(minute FROM l)::int AS mi, extract(hour FROM l)::int AS h, extract(day FROM l)::int AS d, extract(month FROM l)::int AS mo,
	extract(dow FROM l)::int AS wd, extract(month FROM l + interval '1 day') <> extract(month FROM l) AS last_day
FROM span, generate_series(first, first + days * interval '1 day' - interval '1 minute', '1 minute') at, LATERAL (SELECT at AT TIME ZONE zone AS l) x;
CREATE TEMP TABLE verdict (schedule text, except_schedule text, zone text, first timestamptz, at timestamptz, expected boolean);
DO $$
DECLARE
	r record;
BEGIN
	FOR r IN SELECT * FROM rule LOOP
		EXECUTE format('INSERT INTO verdict SELECT %L, %L, zone, first, at, %s FROM minute', r.schedule, r.except_schedule, r.condition);
	END LOOP;
END
$$;
SELECT schedule, except_schedule, count(*) AS minutes, count(*) FILTER (WHERE expected) AS in_force,
	count(*) FILTER (WHERE schedule_in_force(schedule, except_schedule, zone, at) IS DISTINCT FROM expected) AS wrong
FROM verdict GROUP BY 1, 2 ORDER BY schedule COLLATE "C", except_schedule COLLATE "C";
SELECT schedule, except_schedule, count(*) AS instants,
	count(*) FILTER (WHERE next IS DISTINCT FROM CASE WHEN expected THEN at + interval '37.5 s' ELSE following END) AS wrong
FROM (SELECT v.*, schedule_next(schedule, except_schedule, zone, at + interval '37.5 s') AS next,
		min(CASE WHEN expected THEN at END) OVER (PARTITION BY schedule, except_schedule, zone, first
			ORDER BY at DESC ROWS UNBOUNDED PRECEDING) AS following
	FROM verdict v) v
WHERE expected OR following IS NOT NULL
GROUP BY 1, 2 ORDER BY schedule COLLATE "C", except_schedule COLLATE "C";

-- And day by day over half a century: all that next finds, one after the other
CREATE TEMP TABLE leap (schedule text, except_schedule text, condition text);
INSERT INTO leap VALUES
	('0 0 29 2 *', NULL, 'd = 29 AND mo = 2'),
	('0 0 29 2 *', '* * * * 1-6', 'd = 29 AND mo = 2 AND wd = 0'),
	('0 0 $ 2 *', '* * 28 * *', 'd = 29 AND mo = 2'),
	('0 0 13 * fri', '* * 1-12,14-31 * *; * * * * 0-4,6', 'd = 13 AND wd = 5');
CREATE TEMP TABLE day AS
SELECT at, extract(day FROM at)::int AS d, extract(month FROM at)::int AS mo, extract(dow FROM at)::int AS wd
FROM generate_series('2070-01-01'::timestamptz, '2119-12-31'::timestamptz, '1 day') at;
DO $$
DECLARE
	r record;
	expected timestamptz[];
	found timestamptz[];
	next timestamptz;
BEGIN
	FOR r IN SELECT * FROM leap LOOP
		EXECUTE format('SELECT array_agg(at ORDER BY at) FROM day WHERE %s', r.condition) INTO expected;
		found := '{}';
		next := lifeguard.schedule_next(r.schedule, r.except_schedule, 'UTC', '2070-01-01');
		WHILE next < '2120-01-01' LOOP
			found := found || next;
			next := lifeguard.schedule_next(r.schedule, r.except_schedule, 'UTC', next + interval '1 minute');
		END LOOP;
		RAISE NOTICE '% except %: % days, %', r.schedule, r.except_schedule, cardinality(found),
			CASE WHEN found = expected THEN 'all right' ELSE 'WRONG' END;
	END LOOP;
END
$$;

-- Any role may ask
CREATE ROLE regress_schedule;
SET ROLE regress_schedule;
SELECT check_schedule('* * * *'), schedule_in_force('* * * * *', NULL, 'UTC', '2025-01-01'), schedule_next('0 * * * *', NULL, 'UTC', '2025-01-01 00:30');
RESET ROLE;
DROP ROLE regress_schedule;
SELECT proname, provolatile, proparallel, proisstrict FROM pg_proc WHERE pronamespace = 'lifeguard'::regnamespace AND proname ~ 'schedule' ORDER BY 1;
