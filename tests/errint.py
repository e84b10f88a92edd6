# SPDX-License-Identifier: BSD-3-Clause
"""Which functions return "0 or a negative errno", by what their return statements say.

The greatest fixpoint over all functions of the tree: a function is one of them as long as
nothing it returns is known to be something else, and as long as it can return an error.
"""

import re

DEFINITION = re.compile(
    r"^(?P<static>static )?(?:inline )?(?P<type>int|errint_t)\s+(?P<name>\w+)\((?P<params>[^;{]*?)\)\n\{\n"
    r"(?P<body>.*?)^\}$", re.M | re.S)
CAST = re.compile(r"^\((?:int|errint_t)\)\s*")


def code_of(text):
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    return re.sub(r'"(?:\\.|[^"\\])*"', '""', text)


class Function:
    def __init__(self, path, match):
        self.path, self.name = path, match["name"]
        self.static = bool(match["static"])
        self.type = match["type"]
        self.params = match["params"]
        self.body = match["body"]
        self.returns = [" ".join(found.split())
                        for found in re.findall(r"\breturn\b\s*([^;]*);", self.body)]
        self.errors = False

    @property
    def key(self):
        return (self.path if self.static and self.path.endswith(".c") else None, self.name)


def functions_of(texts):
    found = {}
    for path, text in texts.items():
        for match in DEFINITION.finditer(code_of(text)):
            function = Function(path, match)
            found[function.key] = function
    return found


def split_top(text, separators):
    """The pieces between separators that stand in no parentheses."""
    depth, start, pieces = 0, 0, []
    for at, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if not depth and char in separators:
            pieces.append(text[start:at])
            start = at + 1
    return [piece.strip() for piece in pieces + [text[start:]]]


class Analysis:
    def __init__(self, texts, pointers=()):
        self.functions = functions_of(texts)
        self.pure = set(self.functions)
        self.pointers = set(pointers)
        types = set()
        for text in texts.values():
            types |= set(re.findall(r"\btypedef errint_t \(?\*?(\w+)\)?\(", text))
        self.types = re.compile(r"\b(?:%s) \*?(\w+)" % "|".join(types | {"-"}))
        for text in texts.values():
            self.pointers |= set(self.types.findall(text))
            self.pointers |= set(re.findall(r"\berrint_t \(\*(\w+)\)\(", text))
        while True:
            out = {key for key in self.pure if not self._is_pure(self.functions[key])}
            if not out:
                break
            self.pure -= out
        # One that can only succeed isn't one, unless it hands on the answer of one.
        able = {key for key in self.pure if self._has_error(self.functions[key])}
        while True:
            more = {key for key in self.pure - able if self._calls(self.functions[key], able)}
            if not more:
                break
            able |= more
        self.pure = able

    def _resolve(self, function, name):
        for key in ((function.path, name), (None, name)):
            if key in self.functions:
                return key
        return None

    def _values(self, function):
        """What it returns, variables replaced by what is assigned to them."""
        seen, todo, values = set(), list(function.returns), []
        while todo:
            text = todo.pop().strip()
            while text.startswith("(") and text.endswith(")") and self._outer(text):
                text = text[1:-1].strip()
            negative = re.fullmatch(r"\(int\)(\w+)", text)
            if negative and re.search(r"\b%s <=? 0\b" % negative[1], function.body):
                values.append("-errno")
                continue
            text = CAST.sub("", text)
            if "?" in text and len(split_top(text, "?")) > 1:
                rest = split_top(text, "?")[1:]
                first, *others = split_top("?".join(rest), ":")
                todo += [first, ":".join(others)] if others else [first]
                condition = split_top(text, "?")[0]
                if not first:
                    todo.append(condition)
                continue
            if re.fullmatch(r"[a-z_]\w*", text):
                if text in seen:
                    continue
                seen.add(text)
                assigned = re.findall(r"(?<![\w.>])" + text + r"\s*=(?!=)\s*([^;]*?)(?=;)", function.body)
                handed = text == "err" and re.search(r"\b(?:int|errint_t) err\b", function.params)
                if handed:
                    values.append("-errno")
                elif not assigned:
                    values.append("?" + text)
                if re.search(r"&" + text + r"\b|\b" + text + r"\s*(?:\+=|-=|\|=|\+\+|--)", function.body):
                    values.append("?" + text)
                for value in assigned:
                    todo.append(split_top(self._closed(value), ",")[0])
                continue
            values.append(text)
        return values

    @staticmethod
    def _closed(value):
        """Up to a parenthesis that was opened before."""
        depth = 0
        for at, char in enumerate(value):
            depth += (char == "(") - (char == ")")
            if depth < 0:
                return value[:at]
        return value

    @staticmethod
    def _outer(text):
        depth = 0
        for at, char in enumerate(text):
            depth += (char == "(") - (char == ")")
            if not depth and at < len(text) - 1:
                return False
        return True

    def _kind(self, function, value):
        if value == "0":
            return "success"
        if re.fullmatch(r"-E[A-Z0-9]+|-errno|-err|-?errno_or_eio\(.*\)", value):
            return "error"
        call = re.fullmatch(r"(\w+)\(.*\)", value, re.S)
        if call and re.search(r"\berrint_t \(\*%s\)" % call[1], function.params):
            return "error"
        if call and call[1] in self.types.findall(function.params):
            return "error"
        if call and self._outer(value[len(call[1]):]):
            key = self._resolve(function, call[1])
            return key if key in self.pure else "other"
        if value.startswith("-") and re.fullmatch(r"-\w+\(.*\)", value, re.S):
            return "error"
        if re.fullmatch(r"[\w.>-]+(?:->|\.)err(?:or)?", value):
            return "error"
        member = re.fullmatch(r"[^;]+?(?:->|\.)(\w+)\(.*\)", value, re.S)
        if member and member[1] in self.pointers:
            return "error"
        return "other"

    def _is_pure(self, function):
        if function.name == "main" or not function.returns:
            return False
        return all(self._kind(function, value) != "other" for value in self._values(function))

    def _has_error(self, function):
        return any(self._kind(function, value) == "error" for value in self._values(function))

    def _calls(self, function, able):
        return any(self._kind(function, value) in able for value in self._values(function))
