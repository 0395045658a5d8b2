SELECT * FROM lifeguard.metrics;
