"""One page for each hook: its exact signature, its purpose, and an example that a test runs."""

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping

from reference_markdown import code, escaped, page, table

from esper_core import hooks
from esper_core.plugins.kinds import KINDS

#: When the hooks of a class are called: in a few words, and in a sentence.
_WHEN: Mapping[type, tuple[str, str]] = {
    hooks.RegistrationSpecs: ("at start", "Called once, when plugins are loaded."),
    hooks.ResolutionSpecs: (
        "on request",
        "Called when the answer is needed; the first answer that is not None counts.",
    ),
    hooks.ObserverSpecs: (
        "in a run",
        "Called during a run; results are ignored, and exceptions are reported and counted.",
    ),
}


def hook_pages() -> dict[str, str]:
    """Return the pages of all hooks, and the page that lists them."""
    pages = {}
    rows = []
    for specification in hooks.SPECIFICATIONS:
        for function in _functions(specification):
            name = function.name
            summary = escaped((ast.get_docstring(function) or "").partition("\n")[0])
            rows.append([f"[`{name}`](hooks/{name}.md)", _WHEN[specification][0], summary])
            pages[f"hooks/{name}.md"] = _page(specification, function)
    intro = textwrap.dedent(hooks.__doc__ or "").strip()
    pages["hooks.md"] = page(
        "Hooks",
        escaped(intro),
        table(["hook", "called", "what it does"], rows),
        "```{toctree}\n:hidden:\n\n" + "\n".join(f"hooks/{name}" for name in _names()) + "\n```",
    )
    return pages


def signature(function: ast.FunctionDef) -> str:
    """Return the signature of a plugin's implementation of a hook: without `self`, and without quotes around types."""
    arguments = ", ".join(
        f"{it.arg}: {_annotation(it.annotation)}" for it in function.args.args[1:] if it.annotation is not None
    )
    return f"def {function.name}({arguments}) -> {_annotation(function.returns)}: ..."


def _annotation(node: ast.expr | None) -> str:
    return ast.unparse(node).replace("'", "") if node else "None"


def _functions(specification: type) -> list[ast.FunctionDef]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(specification))).body
    assert isinstance(tree, ast.ClassDef)
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


def _names() -> list[str]:
    return [function.name for specification in hooks.SPECIFICATIONS for function in _functions(specification)]


def _page(specification: type, function: ast.FunctionDef) -> str:
    text, _, example = (ast.get_docstring(function) or "").partition(">>> ")
    kind = next((kind for kind in KINDS if kind.hook == function.name), None)
    of = f"`{kind.spec.__name__}`" if kind else ""
    descriptor = f"[Plugin kinds](../kinds.md) describes its descriptors: {of}." if kind else ""
    return page(
        f"`{function.name}`",
        code(f"@hookimpl\n{signature(function)}", "python"),
        escaped(text.strip()),
        f"{_WHEN[specification][1]} {descriptor}",
        "## Example",
        code(re.sub(r"^(\.\.\.|>>>) ?", "", example, flags=re.MULTILINE), "python"),
    )
