-- Who blocks and is not blocked: the usual root query over pg_blocking_pids(),
-- as https://wiki.postgresql.org/wiki/Lock_Monitoring and countless answers to
-- "find the root blocker" have it.  Sessions that hold nobody up are left out
-- before the function is asked about them a second time.
SELECT pid, usename, application_name, state, query
FROM pg_stat_activity
WHERE pid IN (SELECT unnest(pg_blocking_pids(pid)) FROM pg_stat_activity)
  AND cardinality(pg_blocking_pids(pid)) = 0;
