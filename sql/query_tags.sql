-- query_tags: the comment by which a framework names the program, beside the
-- statement.  psql keeps leading "--" comments to itself: those are in the
-- isolation suite.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_lifeguard;
RESET client_min_messages;
\pset null '(none)'

-- none
SELECT query_tags FROM lifeguard.sessions WHERE pid = pg_backend_pid();
-- behind the statement
SELECT query_tags FROM lifeguard.sessions WHERE pid = pg_backend_pid() /*controller='till',action='close'*/;
SELECT query_tags FROM lifeguard.sessions WHERE pid = pg_backend_pid() /* job:night   */   ;
SELECT query_tags FROM lifeguard.sessions WHERE pid = pg_backend_pid() /* line one
 line two */;
-- in front of it
/* app:shop */ SELECT query_tags FROM lifeguard.sessions WHERE pid = pg_backend_pid();
/*app:shop*/SELECT query_tags FROM lifeguard.sessions WHERE pid = pg_backend_pid();
-- both: the one behind counts
/* front */ SELECT query_tags FROM lifeguard.sessions WHERE pid = pg_backend_pid() /* behind */;
-- several: the last behind, the first in front
SELECT query_tags FROM lifeguard.sessions WHERE pid = pg_backend_pid() /* one */ /* two */;
/* one */ /* two */ SELECT query_tags FROM lifeguard.sessions WHERE pid = pg_backend_pid();
-- in the middle
SELECT query_tags /* here */ FROM lifeguard.sessions WHERE pid = pg_backend_pid();
-- empty
SELECT query_tags FROM lifeguard.sessions WHERE pid = pg_backend_pid() /**/;
SELECT query_tags FROM lifeguard.sessions WHERE pid = pg_backend_pid() /*   */;
/**/ SELECT query_tags FROM lifeguard.sessions WHERE pid = pg_backend_pid();
-- hints are none
/*+ SeqScan(s) */ SELECT query_tags FROM lifeguard.sessions s WHERE pid = pg_backend_pid();
SELECT query_tags FROM lifeguard.sessions s WHERE pid = pg_backend_pid() /*+ SeqScan(s) */;
-- within a literal
SELECT query_tags FROM lifeguard.sessions WHERE pid = pg_backend_pid() AND query_tags IS NULL AND '/* no */' <> '';
SELECT query_tags FROM lifeguard.sessions WHERE pid = pg_backend_pid() AND '' <> '/* no */';
-- looks like an end without a beginning
SELECT query_tags, 2 */**/3 AS six FROM lifeguard.sessions WHERE pid = pg_backend_pid();
-- not ASCII
SELECT query_tags FROM lifeguard.sessions WHERE pid = pg_backend_pid() /* route='/k%C3%A4se' */;

-- a statement longer than track_activity_query_size (1024): a comment that was
-- cut off is none, one in front survives
SELECT repeat('x', 900) AS filler, repeat('x', 1100) AS long \gset
SELECT query_tags, length(query) FROM lifeguard.sessions WHERE pid = pg_backend_pid() AND :'filler' <> '' /* app:shop, and more of it than there is room for: 0123456789 */;
/* app:shop */ SELECT query_tags, length(query) FROM lifeguard.sessions WHERE pid = pg_backend_pid() AND :'long' <> '';
/* app:shop */ SELECT query_tags, length(query) FROM lifeguard.sessions WHERE pid = pg_backend_pid() AND :'filler' <> '' /* app:shop, and more of it than there is room for: 0123456789 */;
