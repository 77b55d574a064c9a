"""What a service must be: the checks that every service passes."""

from esper_testing.conformance import Conformance
from esper_weatherlight.testing.service_checks import SERVICE_CHECKS
from esper_weatherlight.testing.service_subject import ServiceSubject

#: What components of the kind are checked with.
CONFORMANCE = Conformance(ServiceSubject, SERVICE_CHECKS)
