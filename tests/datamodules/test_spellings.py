"""Requests as people write them: another spelling is no other request, and a name is what stands in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layouts import plain_picture, write_flickr30k

from benchmark.suites.expansion import expand
from benchmark.suites.suite_file import SuiteError, parse_suite
from benchmark.suites.where import Where
from datamodules.common.dataset import Dataset
from datamodules.common.errors import RequestError, UnknownNameError
from datamodules.common.registry import open_dataset
from datamodules.common.request import ForgetRequest, mentions
from datamodules.in_memory import InMemoryDataset
from methods.common.registry import Registry


def in_memory(names: list[str]) -> Dataset:
    pixels = np.zeros((2 * len(names), 8, 8, 3), np.uint8)
    return InMemoryDataset(pixels, names * 2, class_names=names)


@pytest.mark.parametrize("given", ["ice cream", "Ice Cream", "ice_cream", "ICE-CREAM", " ice  cream"])
def test_a_class_is_found_in_any_spelling(given: str) -> None:
    dataset = in_memory(["ice cream", "bread"])
    request = dataset.resolved(ForgetRequest(classes=(given,)))
    assert request == ForgetRequest(classes=("ice cream",))
    assert dataset.names_for(ForgetRequest(classes=(given,))) == (("ice cream",), ("bread",))


def test_a_spelling_of_two_classes_is_no_name() -> None:
    dataset = in_memory(["Ring", "ring", "star"])
    assert dataset.resolved(ForgetRequest(classes=("ring",))).classes == ("ring",)
    with pytest.raises(UnknownNameError, match="did you mean"):
        dataset.resolved(ForgetRequest(classes=("RING",)))


def test_two_spellings_of_one_class_are_one() -> None:
    dataset = in_memory(["ice cream", "bread", "salt"])
    assert dataset.resolved(ForgetRequest(classes=("Bread", "bread"))).classes == ("bread",)
    with pytest.raises(RequestError, match="every class"):
        dataset.resolved(ForgetRequest(classes=("Bread", "ice_cream", "salt")))


@pytest.fixture
def flickr(tmp_path: Path) -> Dataset:
    texts = ["A woman by a bench .", "Two Women talk .", "a traffic\nlight and a  street  sign", "children play"]
    images = [(f"{i}.jpg", ("train", "test")[i % 2], [texts[i // 2]]) for i in range(8)]
    folder = write_flickr30k(tmp_path, images)
    for name, _, _ in images:
        plain_picture(folder / "flickr30k-images" / name, 5)
    return open_dataset("flickr30k", tmp_path, tmp_path / "cache", 16)


@pytest.mark.parametrize("given", ["woman", "women", "Woman", " WOMEN "])
def test_a_concept_is_one_whatever_its_case_and_number(given: str, flickr: Dataset) -> None:
    request = flickr.resolved(ForgetRequest(concept=given))
    assert request == ForgetRequest(concept="woman") and request.words == ("woman", "women")
    forget, retain = flickr.names_for(ForgetRequest(concept=given))
    assert forget == ("woman",) and "woman" not in retain and "man" in retain
    mask = flickr.forget_mask(flickr.split("train"), ForgetRequest(concept=given))
    assert mask.tolist() == [True, True, False, False]


def test_own_words_stay_with_a_concept_in_another_spelling(flickr: Dataset) -> None:
    request = flickr.resolved(ForgetRequest(concept="Dogs", words=("puppy",)))
    assert (request.concept, request.words) == ("dog", ("puppy",))
    retained = flickr.names_for(ForgetRequest(concept="pet", words=("dog", "horses")))[1]
    assert "dog" not in retained and "horse" not in retained


def test_words_are_found_across_line_breaks_and_spaces(flickr: Dataset) -> None:
    for concept in ("traffic light", "Traffic  Light", "street sign"):
        assert flickr.forget_mask(flickr.split("test"), ForgetRequest(concept=concept)).tolist() == [0, 0, 1, 0]
    assert mentions(["hot\n dog", "hotdog", "cafe\u0301"], ["hot dog", "caf\u00e9"]).tolist() == [True, False, True]


def test_a_known_concept_that_a_split_lacks_is_not_advised(flickr: Dataset) -> None:
    with pytest.raises(RequestError, match="none of its captions contains it"):
        flickr.forget_mask(flickr.split("test"), ForgetRequest(concept="horses"))


def test_two_spellings_make_one_cell(flickr: Dataset, tmp_path: Path) -> None:
    suite = parse_suite(
        "title: t\nmodels: [mini]\nseeds: [0]\nmethods: [original]\ntasks:\n  - dataset: flickr30k\n"
        "    requests: [{concept: woman}, {concept: Women}]\n",
        Path("t.yaml"),
    )
    cells = expand(suite, Registry(), Where(flickr.data_dir, flickr.cache_dir, "cpu"))
    assert [cell.request for cell in cells] == [ForgetRequest(concept="woman")]


HEAD = "title: t\nmodels: [mini]\nseeds: [0]\ntasks:\n  - dataset: folder:x\n    requests: "


@pytest.mark.parametrize("word", ["no", "off", "007", "1:30", "2020-01-01", "1e3", "null", "0x1f", "True", "3.10", "~"])
def test_a_name_is_the_word_that_stands_in_the_file(word: str) -> None:
    suite = parse_suite(f"{HEAD}[{{classes: [{word}, b]}}, {{concept: {word}, words: [{word}]}}]\n", Path("t.yaml"))
    assert suite.tasks[0].requests[0].classes == (word, "b")
    assert suite.tasks[0].requests[1] == ForgetRequest(concept=word, words=(word,))


def test_elsewhere_such_words_are_still_refused() -> None:
    with pytest.raises(SuiteError, match="truth value"):
        parse_suite(f"{HEAD}[{{classes: [a]}}]\n".replace("title: t", "title: no"), Path("t.yaml"))
    with pytest.raises(SuiteError, match="not read as text"):
        parse_suite(f"{HEAD}[{{classes: [[a]]}}]\n", Path("t.yaml"))
