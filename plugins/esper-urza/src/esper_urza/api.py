"""What programs and stores import: records, the protocol `Store`, verification, and addresses."""

from esper_urza.addresses import STORE_VARIABLE, open_store
from esper_urza.inputs import DIGEST, ArtifactInputs
from esper_urza.kinds import StoreSpec
from esper_urza.machine import Machine, this_machine
from esper_urza.manifest import Manifest, damaged
from esper_urza.signed_store import Artifact, SignedStore
from esper_urza.store import Kept, Store, StoreEntry

__all__ = [
    "DIGEST",
    "STORE_VARIABLE",
    "Artifact",
    "ArtifactInputs",
    "Kept",
    "Machine",
    "Manifest",
    "SignedStore",
    "Store",
    "StoreEntry",
    "StoreSpec",
    "damaged",
    "open_store",
    "this_machine",
]
