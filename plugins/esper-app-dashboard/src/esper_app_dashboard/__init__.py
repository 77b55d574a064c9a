"""`esper dashboard`: runs in the browser."""
