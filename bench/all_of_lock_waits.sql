SELECT * FROM lifeguard.lock_waits;
