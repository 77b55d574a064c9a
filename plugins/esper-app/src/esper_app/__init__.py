"""The application: the `esper` command and what a run is. Apps build on `esper_app.api`."""
