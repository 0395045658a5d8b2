-- What a monitoring system asks each second.  How it is scraped and which alert each
-- metric is for: contrib/prometheus.

CREATE FUNCTION lifeguard.read_metrics(
	OUT name text, OUT type text, OUT labels jsonb, OUT value double precision, OUT help text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_metrics' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.read_metrics() IS
'Reads what the view metrics shows.';
GRANT EXECUTE ON FUNCTION lifeguard.read_metrics() TO PUBLIC;

CREATE VIEW lifeguard.metrics AS
SELECT m.name, m.type, m.labels, m.value, m.help
FROM lifeguard.read_metrics() m;
COMMENT ON VIEW lifeguard.metrics IS
'What a monitoring system needs, in OpenMetrics terms, a row per sample: cheap enough to be asked each second, and the same for everybody. At most 25 metrics, each for an alert or a finding; contrib/prometheus says which. Where pg_lifeguard is not preloaded pg_lifeguard_up is 0 and only connections have figures; what the newest pass saw is left out while no collector runs.';
COMMENT ON COLUMN lifeguard.metrics.name IS 'Name of the metric';
COMMENT ON COLUMN lifeguard.metrics.type IS 'counter (since the server started; some begin anew with lifeguard.reset()), gauge or histogram (cumulative: rows end in _bucket, _sum and _count)';
COMMENT ON COLUMN lifeguard.metrics.labels IS 'Which sample of the metric it is; {} where there is only one';
COMMENT ON COLUMN lifeguard.metrics.value IS 'Its value, in seconds where it is a time';
COMMENT ON COLUMN lifeguard.metrics.help IS 'What it says';
GRANT SELECT ON lifeguard.metrics TO PUBLIC;
