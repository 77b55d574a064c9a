"""The services that most machines have: commands, the server of a bus, the forge, and runs."""
