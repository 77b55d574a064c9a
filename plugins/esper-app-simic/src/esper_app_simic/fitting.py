"""Whether the installed plugins can use a policy: it is built as its card says, and given what it has learned."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from esper_app.api import PluginSet, load_policy, rebuild_policy
from esper_core.api import EsperError
from esper_simic.api import CARD, TENSORS, Fits, PackedPolicy, Refusal, refused

if TYPE_CHECKING:
    from esper_app.api import SavedPolicy
    from esper_leyline_proto.learning import PolicyUpdate

#: What restoring may raise where a state has the right kind and the wrong content.
_WRONG = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def fits(plugins: PluginSet) -> Fits:
    """Return what says whether these plugins can use a policy.

    It raises RefusedPolicyError E637: damaged, other-catalogue, other-schema, other-shapes.
    """

    def check(update: "PolicyUpdate", packed: PackedPolicy) -> None:
        saved = _loaded(update, packed)
        try:
            policy = rebuild_policy(saved.card, plugins.registry)
        except EsperError as error:
            raise refused(Refusal.OTHER_CATALOGUE, update.version, error.why or error.what) from error
        own = policy.state()
        if (schema := None if own is None else own.record.get("schema_hash")) != update.observation_schema:
            why = f"it reads {_short(update.observation_schema)}, this Esper gives {_short(schema)}"
            raise refused(Refusal.OTHER_SCHEMA, update.version, why)
        try:
            policy.restore(saved.state)
        except EsperError as error:
            why = f"{error.what}: {error.why}" if error.why else error.what
            raise refused(Refusal.OTHER_SHAPES, update.version, why) from error
        except _WRONG as error:
            raise refused(Refusal.OTHER_SHAPES, update.version, f"{type(error).__name__}: {error}") from error

    return check


def _loaded(update: "PolicyUpdate", packed: PackedPolicy) -> "SavedPolicy":
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / CARD).write_bytes(packed.card)
        (folder / TENSORS).write_bytes(packed.tensors)
        try:
            return load_policy(folder / CARD)
        except EsperError as error:
            raise refused(Refusal.DAMAGED, update.version, error.why or error.what) from error


def _short(schema: object) -> str:
    return f"observations {schema[:12]}" if isinstance(schema, str) else "observations without a schema"
