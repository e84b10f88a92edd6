# SPDX-License-Identifier: BSD-3-Clause
"""Habits of the house that a machine can see."""

import re
import subprocess
from pathlib import Path

import pytest

from errint import Analysis

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "daxfuse").glob("**/*.c"))

SPDX = "/* SPDX-License-Identifier: BSD-3-Clause */\n"
# What a reader finds before anything else: one comment, of one sentence at least.
HEAD = re.compile(re.escape(SPDX) + r"/\*\s(?:\* |)?(?P<text>.*?)\*/\n", re.S)


def words_of(text):
    return re.sub(r"\n ?\*", " ", text).split()


def test_there_are_files():
    assert len(FILES) > 100


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_begins_with_what_it_does(path):
    head = HEAD.match((ROOT / path).read_text())
    assert head, "no comment behind the line with the licence"
    assert len(words_of(head["text"])) >= 5, "that is no sentence"


# ---- what texts say is there, is there ---------------------------------------------------

ROOMS = {path.name for path in (ROOT / "daxfuse").iterdir() if path.is_dir()}
TREE = [path for folder in ("daxfuse", "include", "tests", "contrib", "cmake")
        for path in (ROOT / folder).glob("**/*") if path.is_file()]
NAMES = {path.name for path in TREE}
CODE = {".c", ".h", ".py", ".pml"}
TEXTS = sorted([Path("README.md")] + [path.relative_to(ROOT) for path in (ROOT / "docs").glob("**/*")
                                      if path.suffix in (".md", ".scd")])
SOURCES = sorted(path.relative_to(ROOT) for folder in ("daxfuse", "include")
                 for path in (ROOT / folder).glob("**/*.[ch]"))

# A path from the top of the tree, or one that begins with a room.
PATH = re.compile(r"(?<![\w/.-])(?:(?:daxfuse|include|tests|docs|contrib|cmake)/[\w./-]*\w|"
                  r"(?:" + "|".join(sorted(ROOMS)) + r")/(?:\w+/)*\w+\.[ch])(?![\w/-])")
FILE = re.compile(r"(?<![\w/.-])(\w+\.[ch])(?!\w)")
# The kernel's, or the beginning of several.
ELSEWHERE = {"include/uapi/linux/fuse.h", "vfs_fileattr_set", "clone", "posix_spawn", "i_mmap",
             "xfs_break_layouts", "lock_wait"}
CALL = re.compile(r"(?<![\w.:>])([a-z_][a-z0-9_]+)\(\)")


def exists(path):
    return any((ROOT / folder / path).exists() for folder in ("", "daxfuse", "include"))


def comments_of(text):
    return "\n".join(re.findall(r"/\*.*?\*/", text, re.S))


def comment_lines(text):
    """The lines of comments that stand alone, or go on, on a line of their own."""
    inside = False
    for line in text.split("\n"):
        inside = inside or "/*" in line
        if inside and re.match(r"[\t ]*(/\*|\*)", line):
            yield line
        inside = inside and "*/" not in line


def code_of(text):
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.S)


@pytest.mark.parametrize("path", TEXTS + SOURCES, ids=str)
def test_paths_lead_somewhere(path):
    text = (ROOT / path).read_text()
    if path.suffix in (".c", ".h"):
        text = comments_of(text)
    missing = {found for found in PATH.findall(text) if not exists(found)}
    missing |= {name for name in FILE.findall(text) if name not in NAMES}
    assert missing - ELSEWHERE == set()


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_comments_have_a_hundred_columns(path):
    lines = comment_lines((ROOT / path).read_text())
    assert [line for line in lines if len(line.expandtabs(8)) > 100] == []


@pytest.mark.parametrize("path", TEXTS + SOURCES, ids=str)
def test_subjects_are_named(path):
    """Nobody is called "whoever": a thread, a program, a caller has a name."""
    text = (ROOT / path).read_text()
    if path.suffix in (".c", ".h"):
        text = comments_of(text)
    assert not re.search(r"\bwhoever\b", text, re.I)


@pytest.mark.parametrize("path", [path for path in TEXTS if path.suffix == ".md"], ids=str)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / path).read_text()):
        assert (ROOT / path.parent / target).exists(), target


@pytest.fixture(scope="module")
def called():
    """All functions that our code defines, declares or calls."""
    names = set()
    for path in TREE:
        if path.suffix in CODE:
            names |= set(re.findall(r"\b(\w+)\(", code_of(path.read_text())))
    return names


@pytest.mark.parametrize("path", [path for path in TEXTS if path.parent.name == "design"] + SOURCES,
                         ids=str)
def test_functions_that_are_named_are_there(path, called):
    text = (ROOT / path).read_text()
    if path.suffix in (".c", ".h"):
        text = comments_of(text)
    assert set(CALL.findall(text)) - called - ELSEWHERE == set()


@pytest.mark.parametrize("path", TEXTS, ids=str)
def test_functions_stand_in_the_files_that_are_said(path):
    """As in "modify.c vfs_write()"."""
    for file, name in re.findall(r"\b(\w+\.c) +([a-z_]\w+)\(\)", (ROOT / path).read_text()):
        homes = [source for source in SOURCES if source.name == file]
        assert any(f"{name}(" in (ROOT / home).read_text() for home in homes), f"{file} {name}()"


@pytest.fixture(scope="module")
def words():
    """All identifiers of our sources."""
    found = set()
    for path in TREE:
        if path.suffix in CODE and path != Path(__file__).resolve():
            found |= set(re.findall(r"\w+", path.read_text()))
    return found


@pytest.mark.parametrize("path", [path for path in TEXTS if path.suffix == ".md"], ids=str)
def test_names_in_texts_are_there(path, words):
    named = set(re.findall(r"`([A-Za-z]\w*_\w+)`", (ROOT / path).read_text()))
    assert named - words - ELSEWHERE == set()


def test_the_order_of_locks_is_explained():
    """Each rank of lockrank.h is in the table of locking.md, in the same order."""
    header = (ROOT / "daxfuse/base/lockrank.h").read_text()
    ranks = re.findall(r"^\tLOCK_(\w+),", header, re.M)
    assert ranks.pop() == "RANKS"
    page = (ROOT / "docs/design/locking.md").read_text()
    rows = [line.split("|")[1] for line in page.split("\n") if line.startswith("| ")]
    explained = [name for row in rows for name in re.findall(r"\b[A-Z][A-Z_]+\b", row)]
    assert explained == ranks


ARCHIVE = re.compile(r"\b(deb|ftp|archive|snapshot|security|httpredir)[\w.]*\.(debian\.org|ubuntu\.com)\b")


def test_archives_are_those_of_the_machine():
    """Packages come from where its own apt sources say (contrib/debian-mirror)."""
    files = [path for path in [*TREE, *(ROOT / name for name in TEXTS)]
             if path != Path(__file__).resolve()]
    assert [str(path) for path in files if ARCHIVE.search(path.read_text(errors="replace"))] == []


# ---- the code's own types and form --------------------------------------------------------

def test_0_or_a_negative_errno_has_its_type():
    """errint_t where nothing else is returned, and nowhere else (daxfuse/base/errint.h)."""
    texts = {str(path): (ROOT / path).read_text() for path in SOURCES}
    analysis = Analysis(texts)
    assert len(analysis.pure) > 500
    wrong = [f"{function.path}: {function.name}()" for key, function in analysis.functions.items()
             if (function.type == "errint_t") != (key in analysis.pure)]
    assert wrong == []


@pytest.mark.parametrize("body, pure", [
    ("return -EINVAL;", True),
    ("return 0;", False),
    ("return -1;", False),
    ("return a ? -EIO : 1;", False),
    ("int err = other(a);\n\n\tif (err)\n\t\treturn err;\n\treturn -EIO;", True),
    ("int n = read(a);\n\n\treturn n < 0 ? -errno : n;", False),
    ("int err = other(a);\n\n\terr++;\n\treturn err;", False),
])
def test_errors_are_known_from_counts(body, pure):
    text = "static int f(int a)\n{\n\t%s\n}\n\nint other(int a)\n{\n\treturn a ? -EPERM : 0;\n}\n" % body
    assert (("a.c", "f") in Analysis({"a.c": text}).pure) == pure


def test_the_code_has_one_form():
    """.clang-format's. Mended by: git ls-files '*.[ch]' | xargs clang-format -i"""
    files = [path for path in TREE if path.suffix in (".c", ".h")]
    found = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], cwd=ROOT,
                           capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[:2000]


def test_there_is_one_kind_of_atomics():
    """<stdatomic.h>'s, on what is declared so; not the compiler's own."""
    found = [f"{path}:{at + 1}" for path in TREE if path.suffix in (".c", ".h")
             for at, line in enumerate((ROOT / path).read_text().splitlines())
             if "__atomic_" in line or "__sync_" in line]
    assert not found
