"""What a bus must be: the checks that every bus passes, on whatever server it stands."""

from esper_oona.testing.bus_subject import BusSubject
from esper_oona.testing.checks_of_delivery import DELIVERY_CHECKS
from esper_oona.testing.checks_of_failure import FAILURE_CHECKS
from esper_testing.conformance import Conformance

#: What components of the kind are checked with.
CONFORMANCE = Conformance(BusSubject, (*DELIVERY_CHECKS, *FAILURE_CHECKS))
