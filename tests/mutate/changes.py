"""The mutants of a module: the changes that mutmut makes, and checks that are left out."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libcst as cst
from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider
from mutmut.mutation.mutators import mutation_operators

_MESSAGES = re.compile(
    r"Error$|_?refused?$|^_bad$|^_malformed$|hint|why|rule|message|instead"
    r"|^how$|^ADD_KEY$|^BUTTON$|^BY_HAND$|^_NEW_LINE$|^_SIGN$|^_FORMS$|^form$|^shown$|^_SIGNERS_FILE$|^Walk$"
)
"""Calls and names whose texts are for people."""

_SILENT = (cst.Annotation, cst.Import, cst.ImportFrom, cst.Decorator, cst.Raise)
"""What is not changed: a refusal is left out as a whole, and its words are for people."""

_CRUDE = ("operator_arg_removal", "operator_assignment")

_STATEMENTS = (cst.BaseStatement, cst.ExceptHandler, cst.MatchCase)


@dataclass(frozen=True)
class Mutant:
    """A changed module: where, the line before and after, and its whole text."""

    file: str
    place: str
    line: int
    lines: range  # of the statement that is changed, without what is inside of it
    scope: str  # "function", "class" or "module": where that statement stands
    before: str
    after: str
    text: str
    crude: bool  # an argument that is gone, or a value that is None: mostly no Python that runs

    @property
    def shown(self) -> str:
        return f"- `{self.file}` {self.place}: `{self.before}` → `{self.after}`"


def left_out(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Yield `node` without a check: what mutmut does not do."""
    match node:
        case cst.If():
            yield node.with_changes(test=cst.Name("False"))
            yield node.with_changes(test=cst.Name("True"))
        case cst.BooleanOperation():
            yield node.left
            yield node.right
        case cst.Comparison(comparisons=[one, _, *_]):
            yield node.with_changes(comparisons=[one])
        case cst.SimpleStatementLine(body=[cst.Expr(value=cst.Call())]):
            yield node.with_changes(body=[cst.Pass()])
        case cst.Name(value="all" | "any"):
            yield cst.Name("any" if node.value == "all" else "all")
        case cst.Integer():
            yield cst.Integer(str(node.evaluated_value - 1)) if node.evaluated_value else node
        case cst.Set(elements=parts) | cst.Tuple(elements=parts) | cst.List(elements=parts):
            for number in range(len(parts)):
                if len(parts) > 1 or not isinstance(node, cst.Set):
                    yield node.with_changes(elements=[*parts[:number], *parts[number + 1 :]])
        case cst.Dict(elements=parts):
            for number in range(len(parts)):
                yield node.with_changes(elements=[*parts[:number], *parts[number + 1 :]])


class Finder(cst.CSTVisitor):
    """Collects the mutants of one module."""

    METADATA_DEPENDENCIES = (PositionProvider, ParentNodeProvider)

    def __init__(self, file: str, tree: cst.Module) -> None:
        self.file = file
        self.tree = tree
        self.lines = tree.code.splitlines()
        self.found: dict[str, Mutant] = {}

    def on_visit(self, node: cst.CSTNode) -> bool:
        if self._says_nothing(node):
            return False
        for changed, crude in self._changed(node):
            text = self.tree.deep_replace(node, changed).code
            if text != self.tree.code and text not in self.found:
                self.found[text] = self._mutant(node, text, crude=crude)
        return True

    def _changed(self, node: cst.CSTNode) -> Iterator[tuple[Any, bool]]:
        """Yield what `node` may become, and whether that is crude."""
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                found = list(operator(node))
                for changed in found[:1] if isinstance(node, cst.BaseString) else found:
                    yield changed, operator.__name__ in _CRUDE
        for changed in left_out(node):
            yield changed, False

    def _says_nothing(self, node: cst.CSTNode) -> bool:
        """Return whether `node` is text for people, a type, or an import."""
        if isinstance(node, _SILENT):
            return True
        if isinstance(node, cst.Expr) and isinstance(node.value, cst.BaseString):
            return True
        if isinstance(node, cst.BaseString | cst.FormattedString | cst.ConcatenatedString):
            return self._is_message(node)
        return isinstance(node, cst.If) and self.tree.code_for_node(node.test) == "TYPE_CHECKING"

    def _is_message(self, node: cst.CSTNode) -> bool:
        at: cst.CSTNode | None = node
        while at is not None and not isinstance(at, cst.BaseStatement):
            if isinstance(at, cst.Call):
                name = self.tree.code_for_node(at.func).rpartition(".")[2]
                return bool(_MESSAGES.search(name))
            if isinstance(at, cst.Assign):
                name = self.tree.code_for_node(at.targets[0].target)
                return bool(_MESSAGES.search(name))
            at = self.get_metadata(ParentNodeProvider, at, None)
        return False

    def _mutant(self, node: cst.CSTNode, text: str, *, crude: bool) -> Mutant:
        line = self.get_metadata(PositionProvider, node).start.line
        pairs = zip(self.lines, text.splitlines(), strict=False)
        before, after = next((one, other) for one, other in pairs if one != other)
        lines, scope = self._statement(node)
        return Mutant(
            file=self.file,
            place=self._place(node),
            line=line,
            lines=lines,
            scope=scope,
            before=before.strip(),
            after=after.strip(),
            text=text,
            crude=crude,
        )

    def _statement(self, node: cst.CSTNode) -> tuple[range, str]:
        """Return the lines of the statement around `node`, and in what kind of scope it stands."""
        at: cst.CSTNode | None = node
        while not isinstance(at, _STATEMENTS):
            assert at is not None, "every change is in a statement"
            at = self.get_metadata(ParentNodeProvider, at)
        place = self.get_metadata(PositionProvider, at)
        body = getattr(at, "body", None)
        last = place.end.line
        if isinstance(body, cst.BaseSuite):
            last = max(place.start.line, self.get_metadata(PositionProvider, body).start.line - 1)
        outer = None if isinstance(at, cst.Module) else self.get_metadata(ParentNodeProvider, at)
        while outer is not None and not isinstance(outer, cst.FunctionDef | cst.ClassDef):
            outer = self.get_metadata(ParentNodeProvider, outer, None)
        scope = {cst.FunctionDef: "function", cst.ClassDef: "class"}.get(type(outer), "module")
        return range(place.start.line, last + 1), scope

    def _place(self, node: cst.CSTNode) -> str:
        names = []
        at: cst.CSTNode | None = node
        while at is not None:
            if isinstance(at, cst.FunctionDef | cst.ClassDef):
                names.append(at.name.value)
            at = self.get_metadata(ParentNodeProvider, at, None)
        return ".".join(reversed(names)) or "-"


def mutants(path: Path) -> list[Mutant]:
    """Return the mutants of a file, in its order."""
    wrapper = MetadataWrapper(cst.parse_module(path.read_text()))
    finder = Finder(path.name, wrapper.module)
    wrapper.visit(finder)
    return sorted(finder.found.values(), key=lambda mutant: mutant.line)


def unchanged(path: Path) -> Mutant:
    """Return a file as it is, as if it were a mutant that every test reaches."""
    text = path.read_text()
    return Mutant(path.name, "-", 1, range(0), "everything", "", "", text, crude=False)
