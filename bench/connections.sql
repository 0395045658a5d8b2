SELECT * FROM lifeguard.connections;
