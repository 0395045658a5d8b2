-- Who waits for whom: the short query of https://wiki.postgresql.org/wiki/Lock_Monitoring
SELECT pid, usename, pg_blocking_pids(pid) AS blocked_by, query AS blocked_query
FROM pg_stat_activity
WHERE cardinality(pg_blocking_pids(pid)) > 0;
