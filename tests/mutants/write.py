"""Write the mutants of modules as JSON lines: ``python tests/mutants/write.py MODULE... > FILE``.

A mutant is a module with one small change of cosmic-ray's. This runs where cosmic-ray is
installed; `tests/mutants/run.py` runs the tests where Kaleido is.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

UNCHANGED = re.compile(
    "core/(ReplaceBinaryOperator_BitOr_.*|RemoveDecorator|ReplaceComparisonOperator_.*_(Is|IsNot)"
    "|ReplaceBinaryOperator_.*_(Pow|FloorDiv|Mod|RShift|LShift|BitOr|BitAnd|BitXor)"
    "|ReplaceBinaryOperator_BitAnd_Mul)"
)
"""Changes that are left out. `X | None` in annotations and most decorators have no effect, `&` and
`*` are one for booleans, and an operator is replaced by its likely confusions only, which are a
third of all."""


def mutants(source: str) -> Iterator[dict[str, object]]:
    """Yield each change: its lines, and the changed source; equal ones once."""
    nodes, seen = list(ast_nodes(get_ast(source))), {source}
    for name in filter(lambda name: not UNCHANGED.fullmatch(name), plugins.operator_names()):
        kind = plugins.get_operator(name)
        if kind.arguments():
            continue
        count = sum(1 for node in nodes for _ in kind().mutation_positions(node))
        for number in range(count):
            try:
                code = mutate_code(source, kind(), number)
            except AttributeError:  # cosmic-ray's fault on some exception clauses
                continue
            if code is None or code in seen or "not TYPE_CHECKING" in code:
                continue
            seen.add(code)
            diff = list(difflib.unified_diff(source.splitlines(), code.splitlines(), n=0))[2:]
            first, length = re.match(r"@@ -(\d+)(?:,(\d+))?", diff[0]).groups("1")
            lines = [int(first), int(first) + int(length) - 1]
            yield {"lines": lines, "diff": "\n".join(diff[1:]), "code": code}


for module in sys.argv[1:]:
    for mutant in mutants(Path(module).read_text("utf-8")):
        print(json.dumps({"module": module, **mutant}))
