"""Structure of the package as figures: rooms, loose modules, import circles, settings, function lengths, annotations.

python benchmarks/structure.py [ROOT]
"""

from __future__ import annotations

import ast
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "shift_assets"


def modules(root: Path) -> dict[str, ast.Module]:
    """Syntax tree of every module of the package, by dotted name."""
    found = {}
    for file in sorted((root / PACKAGE).rglob("*.py")):
        if "sql" not in file.relative_to(root).parts:
            name = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            found[name] = ast.parse(file.read_text(encoding="utf-8"))
    return found


def imports(name: str, tree: ast.Module, known: set[str]) -> set[str]:
    """Modules of the package that a module imports, inside functions and under TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in known}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found |= {inner if inner in known else node.module} & known
    return found - {name}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            circle = []
            while True:
                circle.append(stack.pop())
                if circle[-1] == node:
                    break
            if len(circle) > 1:
                found.append(sorted(circle))

    sys.setrecursionlimit(10_000)
    for node in graph:
        if node not in index:
            visit(node)
    return found


def functions(trees: dict[str, ast.Module]) -> Iterator[tuple[int, str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function with its length in lines."""
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield (node.end_lineno or node.lineno) - node.lineno + 1, f"{name}.{node.name}", node


def setting_count(trees: dict[str, ast.Module]) -> int:
    """Annotated fields of the settings classes, sections not counted."""
    classes = [
        node
        for name, tree in trees.items()
        if ".settings" in name
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name.endswith("Settings")
    ]
    return sum(
        isinstance(field, ast.AnnAssign) and not ast.unparse(field.annotation).endswith("Settings")
        for cls in classes
        for field in cls.body
    )


def measure(root: Path) -> dict[str, object]:
    """All figures of the checkout at `root`."""
    trees = modules(root)
    graph = {name: imports(name, tree, set(trees)) for name, tree in trees.items()}
    lengths = sorted(functions(trees), key=lambda item: item[0])
    top = [name for name in trees if name.count(".") == 1 and (root / (name.replace(".", "/") + ".py")).exists()]
    return {
        "modules": len(trees),
        "rooms": len([p for p in (root / PACKAGE).iterdir() if (p / "__init__.py").exists()]),
        "loose_modules": len(top),
        "circles": circles(graph),
        "settings": setting_count(trees),
        "lines": sum(len(f.read_text().splitlines()) for f in (root / PACKAGE).rglob("*.py")),
        "functions": len(lengths),
        "function_lines_median": statistics.median(n for n, _, _ in lengths),
        "function_lines_p90": lengths[int(0.9 * len(lengths))][0],
        "functions_over_60_lines": [f"{name} {n}" for n, name, _ in lengths if n > 60],
        "modules_over_500_lines": [
            str(f.relative_to(root)) for f in (root / PACKAGE).rglob("*.py") if len(f.read_text().splitlines()) > 500
        ],
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1] if len(sys.argv) > 1 else ".")), indent=2))
