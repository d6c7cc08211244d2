"""Showing an exception never fails."""

from __future__ import annotations

import traceback

import pytest

from littleq import tracebacks


class Shy(Exception):
    def __str__(self) -> str:
        raise RuntimeError("do not look at me")


def caught(error: Exception) -> Exception:
    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        raise error

    try:
        deep(40)
    except Exception as found:
        return found
    raise AssertionError


def test_the_innermost_frames_are_kept() -> None:
    text = tracebacks.formatted(caught(ValueError("row 7")), -3)
    assert text.endswith("ValueError: row 7\n")
    assert "in deep" in text
    assert "in caught" not in text


def test_a_parser_that_fails_costs_only_the_source_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> list[str]:
        raise SystemError("AST constructor recursion depth mismatch (before=141, after=64)")

    error = caught(ValueError("row 7"))
    monkeypatch.setattr(traceback, "format_exception", broken)
    text = tracebacks.formatted(error, -2)
    assert text.startswith("Traceback (most recent call last):\n")
    assert "in deep\n" in text
    assert text.endswith("builtins.ValueError\n")


def test_an_exception_that_cannot_be_shown_is_named() -> None:
    error = caught(Shy())
    assert tracebacks.message(error, 100) == "<Shy that cannot be shown>"
    assert "Shy" in tracebacks.formatted(error, -3)


def test_long_messages_are_cut() -> None:
    assert tracebacks.message(ValueError("x" * 5000), 10) == "x" * 10
