"""`esper catalogue`: look at all blueprints, measure and probe them, and approve those that need it."""
