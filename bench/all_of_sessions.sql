SELECT * FROM lifeguard.sessions;
