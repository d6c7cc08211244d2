"""The tree of files, and the YAML in them."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from littleq.config import SLAQueueConfig
from littleq.manifests.tree import ADAPTER_VALUES, KUSTOMIZATION, OVERLAYS, tree
from littleq.manifests.writing import to_yaml
from tests.clusters import make_fleet

TREE = tree(make_fleet())


def test_every_file_of_a_folder_is_in_its_kustomization_once() -> None:
    for path, file in TREE.items():
        folder, _, name = path.rpartition("/")
        if name == KUSTOMIZATION:
            (kustomization,) = file.documents
            beside = {other.rpartition("/")[2] for other in TREE if other.rpartition("/")[0] == folder}
            assert sorted(kustomization["resources"]) == sorted(beside - {KUSTOMIZATION, ADAPTER_VALUES})


def test_overlays_stand_on_the_base_but_for_monitoring() -> None:
    """Folders among `resources` are news to the kustomize in kubectl 1.20: it knows `bases` alone."""
    for name in OVERLAYS:
        if name == "redis":
            continue
        (kustomization,) = TREE[f"overlays/{name}/{KUSTOMIZATION}"].documents
        assert kustomization.get("bases") == (None if name == "monitoring" else ["../../base"])
        assert not any("/" in resource for resource in kustomization["resources"])


def test_there_is_one_file_for_each_overlay() -> None:
    assert {f"{name}.yaml" for name in OVERLAYS} == {path for path in TREE if "/" not in path}


@pytest.mark.parametrize("path", TREE)
def test_a_file_says_in_its_first_line_what_it_is_and_who_wrote_it(path: str) -> None:
    head, _, rest = TREE[path].text.partition("\n")
    assert re.fullmatch(r"# .+\. Written by `littleq manifests`: change littleq.toml, not this file\.", head)
    assert not rest.startswith("#")


@pytest.mark.parametrize("path", TREE)
def test_a_file_reads_back_as_what_it_was_made_of(path: str) -> None:
    assert list(yaml.safe_load_all(TREE[path].text)) == TREE[path].documents


def test_the_same_configuration_gives_the_same_bytes_whatever_the_order_of_its_queues() -> None:
    one, other = SLAQueueConfig("one"), SLAQueueConfig("other")
    first, second = tree(make_fleet(one, other)), tree(make_fleet(other, one))
    assert {path: file.text for path, file in first.items()} == {
        path: file.text for path, file in second.items()
    }


@given(
    st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
)
def test_whatever_is_written_reads_back(value: object) -> None:
    assert list(yaml.safe_load_all(to_yaml([value, value]))) == [value, value]


AMBIGUOUS = (
    *("1", "0.0.0.0", "1e3", "12e456", "0x1f", "1_000", "2026-11-24", "1:30"),
    *("n", "Y", "on", "no", "true", "null", "~", ""),
)


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_a_text_that_some_reader_takes_for_something_else_is_in_quotes(text: str) -> None:
    """Kubernetes takes no number for a text; an old kubectl reads n as false, and Go 1e3 as a number."""
    assert to_yaml([{"key": text}]) == f'key: "{text}"\n'


def test_texts_of_several_lines_stay_as_they_are() -> None:
    assert to_yaml([{"littleq.toml": "[queues.a]\nsla_seconds = 1\n"}]) == (
        "littleq.toml: |\n  [queues.a]\n  sla_seconds = 1\n"
    )
