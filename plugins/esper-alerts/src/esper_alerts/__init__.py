"""When a person should look at a run: its metrics, what alerts and objectives say of them, and what evaluates them."""
