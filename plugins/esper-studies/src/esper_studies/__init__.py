"""Many runs as one study: what is missing is run, what is there is kept, and failures stay in the table."""

from esper_studies.figures import RunFigures, figures_of, mixed_sources
from esper_studies.requests import RunRequest, request_digest
from esper_studies.study import Study, StudyRun
from esper_studies.trainers import Trained

__all__ = ["RunFigures", "RunRequest", "Study", "StudyRun", "Trained", "figures_of", "mixed_sources", "request_digest"]
