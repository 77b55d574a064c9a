"""What a run and the services around it put on a bus without waiting for it, and what reads it again."""
