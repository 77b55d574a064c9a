"""From the names and options that a user or a configuration gives to parts that are ready to use."""
