"""What a store must be: the checks that every store passes, wherever it keeps artifacts."""

from esper_testing.conformance import Conformance
from esper_urza.testing.store_checks import STORE_CHECKS
from esper_urza.testing.store_subject import StoreSubject

#: What components of the kind are checked with.
CONFORMANCE = Conformance(StoreSubject, STORE_CHECKS)
