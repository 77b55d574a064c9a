"""What programs and compilers import: the protocol `Compiler` and its records, orders, verification, and the forge."""

from esper_oona.state import state_directory, state_path
from esper_tezzeret.apart import Workshop, answer
from esper_tezzeret.compiler import Compiled, CompileJob, Compiler, LoadJob
from esper_tezzeret.forge import Forge, Outcome
from esper_tezzeret.inputs import inputs_of
from esper_tezzeret.kinds import CompilerSpec
from esper_tezzeret.making import Product, make, not_loaded
from esper_tezzeret.orders import DTYPES, PRESETS, Order
from esper_tezzeret.process_group import run_in_group, serve
from esper_tezzeret.queue import ATTEMPTS, ForgeQueue, JobStatus
from esper_tezzeret.verification import Limits, verify

__all__ = [
    "ATTEMPTS",
    "DTYPES",
    "PRESETS",
    "CompileJob",
    "Compiled",
    "Compiler",
    "CompilerSpec",
    "Forge",
    "ForgeQueue",
    "JobStatus",
    "Limits",
    "LoadJob",
    "Order",
    "Outcome",
    "Product",
    "Workshop",
    "answer",
    "inputs_of",
    "make",
    "not_loaded",
    "run_in_group",
    "serve",
    "state_directory",
    "state_path",
    "verify",
]
