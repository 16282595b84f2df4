"""The table of promises is true: the words are those of the documents, the tests exist, and none is left out."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
DOCUMENTS = [(TESTS.parent / name).read_text(encoding="utf-8") for name in ("README.md", "SECURITY.md")]
ROWS = re.findall(r"^\| (.+?) \| (`test_.+`) \|$", (TESTS / "PROMISES.md").read_text(encoding="utf-8"), re.MULTILINE)


def words(text: str) -> str:
    return " ".join(text.replace("**", "").split())


def test_every_promise_stands_in_a_document() -> None:
    documents = words(" ".join(DOCUMENTS))
    assert ROWS
    assert [promise for promise, _ in ROWS if words(promise) not in documents] == []


def test_every_proof_exists() -> None:
    missing = []
    for _, proofs in ROWS:
        for file, name in re.findall(r"`(test_\w+\.py)::(test_\w+)`", proofs):
            tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
            tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
            missing += [] if name in tests else [f"{file}::{name}"]
    assert missing == []


def test_every_promise_in_bold_has_its_row() -> None:
    in_bold = [match for text in DOCUMENTS for match in re.findall(r"^- \*\*(.+?)\*\*", text, re.MULTILINE)]
    assert len(in_bold) >= 10
    assert [promise for promise in in_bold if promise not in dict(ROWS)] == []
