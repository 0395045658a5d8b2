SELECT count(*) FROM lifeguard.blockers;
