-- What monitoring agents ask at every scrape, for instance postgres_exporter's
-- pg_stat_activity collector (github.com/prometheus-community/postgres_exporter).
SELECT datname, state, usename, application_name, count(*),
	max(extract(epoch FROM now() - xact_start)) AS max_tx_duration
FROM pg_stat_activity
GROUP BY 1, 2, 3, 4;
