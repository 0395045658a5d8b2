SELECT lifeguard.run_pass();
