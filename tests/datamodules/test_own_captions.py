"""Your own images with captions: every form of list that people have, shards, and what is wrong with them."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from layouts import plain_picture

from datamodules.common.caption_files import read_captions
from datamodules.common.dataset import Dataset
from datamodules.common.errors import BenchmarkError, DatasetCorruptError
from datamodules.common.registry import open_dataset
from datamodules.common.request import ForgetRequest

IMAGES = {
    "a.jpg": ("train", ["A dog runs .", 'He said "hi", then left .']),
    "b.jpg": ("train", ["A man sits .", "Two men , one bench ."]),
    "c.jpg": ("test", ["Dogs\nplay  here .", "snow"]),
    "d.jpg": ("test", ["a man", "a woman"]),
}
EXPECTED = [(name, split, tuple(" ".join(text.split()) for text in texts)) for name, (split, texts) in IMAGES.items()]
UNSPLIT = [(name, "", texts) for name, _, texts in EXPECTED]
Rows = list[tuple[str, str, str]]
ROWS: Rows = [(name, split, text) for name, (split, texts) in IMAGES.items() for text in texts]


def table(head: tuple[str, ...], rows: list[tuple[str, ...]], mark: str = ",") -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter=mark).writerows([head, *rows])
    return stream.getvalue()


def karpathy() -> str:
    return json.dumps(
        {
            "images": [
                {"filename": name, "split": split, "sentences": [{"raw": text} for text in texts]}
                for name, (split, texts) in IMAGES.items()
            ]
        }
    )


def coco() -> str:
    images = [{"id": 7 + number, "file_name": name} for number, name in enumerate(IMAGES)]
    id_of = {image["file_name"]: image["id"] for image in images}
    return json.dumps({"images": images, "annotations": [{"image_id": id_of[n], "caption": t} for n, _, t in ROWS]})


def kaggle() -> str:
    rows = [f"{name}| {n}| {' '.join(text.split())}" for n, (name, _, text) in enumerate(ROWS)]
    rows[3] = rows[3].replace("| Two", " Two")  # the row that the copy in circulation has
    return "\n".join(["image_name| comment_number| comment", *rows]) + "\n"


def hub() -> str:
    rows = [(json.dumps(texts), "[1, 2]", split, name, "3") for name, (split, texts) in IMAGES.items()]
    return table(("raw", "sentids", "split", "filename", "img_id"), rows)


WITH_SPLITS: dict[str, tuple[str, str]] = {
    "csv": ("list.csv", table(("image", "split", "caption"), list(ROWS))),
    "semicolons": ("list.csv", table(("Filename", "Split", "Caption"), list(ROWS), ";")),
    "tsv": ("list.tsv", table(("filepath", "split", "title"), list(ROWS), "\t")),
    "json lines": ("list.jsonl", "".join(json.dumps({"image": n, "split": s, "text": t}) + "\n" for n, s, t in ROWS)),
    "json list": (
        "list.json",
        json.dumps([{"file_name": n, "split": s, "captions": t} for n, (s, t) in IMAGES.items()]),
    ),
    "karpathy": ("dataset.json", karpathy()),
    "karpathy with a byte order mark": ("dataset.json", "\ufeff" + karpathy()),
    "hub's table": ("annotations.csv", hub()),
}
WITHOUT = {
    "coco": ("captions_val.json", coco()),
    "kaggle's table": ("results.csv", kaggle()),
    "token file": ("results.token", "".join(f"{n}#{i}\t{' '.join(t.split())}\n" for i, (n, _, t) in enumerate(ROWS))),
    "flickr8k": ("captions.txt", table(("image", "caption"), [(n, t) for n, _, t in ROWS])),
    "json object": ("captions.json", json.dumps({name: texts for name, (_, texts) in IMAGES.items()})),
}


@pytest.mark.parametrize("form", [*WITH_SPLITS, *WITHOUT])
@pytest.mark.loads(
    "captions",
    "csv, tsv, JSON lines, JSON lists and objects, Karpathy (with or without byte order mark), COCO, token "
    "file, Flickr8k",
    "load, all the same",
)
def test_every_form_gives_the_same(form: str, tmp_path: Path) -> None:
    name, text = (WITH_SPLITS | WITHOUT)[form]
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert read_captions(tmp_path / name) == (EXPECTED if form in WITH_SPLITS else UNSPLIT)


def test_every_form_is_on_the_page_of_what_loads() -> None:
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    section = page.partition("## Images with captions")[2].partition("## ")[0]
    assert [form for form in (*WITH_SPLITS, *WITHOUT) if form not in section] == []


def write_images(folder: Path) -> None:
    for number, name in enumerate(IMAGES):
        plain_picture(folder / name, 40 * number)


def opened(name: str, root: Path) -> Dataset:
    return open_dataset(name, root, root / "cache", 16)


@pytest.mark.parametrize("place", ["", "pictures"])
def test_an_own_retrieval_set(place: str, tmp_path: Path) -> None:
    write_images(tmp_path / "mine" / place)
    (tmp_path / "mine" / "list.csv").write_text(WITH_SPLITS["csv"][1], newline="")
    dataset = opened("captions:mine/list.csv", tmp_path)
    dataset.check_images()
    assert dataset.name == "captions:mine/list.csv" and dataset.notes == ()
    assert set(dataset.concept_names) == {"man", "dog", "woman", "snow", "bench"}
    test = dataset.split("test")
    assert test.captions == (("Dogs play here .", "snow"), ("a man", "a woman")) and test.labels is None
    assert dataset.forget_mask(test, ForgetRequest(concept="Dogs")).tolist() == [True, False]
    red = test.images.read([0, 1])[:, 0, 8, 8].tolist()
    assert red == pytest.approx([80, 120], abs=3)
    before = dataset.revision
    (tmp_path / "mine" / "concepts.txt").write_text("dog\ncafe\u0301\n")
    again = opened("captions:mine/list.csv", tmp_path)
    assert again.concept_names == ("dog", "caf\u00e9") and again.revision != before


@pytest.mark.loads("captions", "captions without a split", "a fifth of the images is measured, and told")
def test_without_a_split_a_stated_fifth_is_measured(tmp_path: Path) -> None:
    for number in range(10):
        plain_picture(tmp_path / f"{number}.png", number)
    (tmp_path / "list.json").write_text(json.dumps({f"{n}.png": f"a dog {n}" for n in range(10)}))
    dataset = opened("captions:list.json", tmp_path)
    assert [len(dataset.split(part).images) for part in ("train", "test")] == [8, 2]
    assert "20% of the images" in dataset.notes[0]
    with pytest.raises(DatasetCorruptError, match="gives no image to val"):
        dataset.split("val")


@pytest.mark.loads("captions", "images missing or unreadable", "all named; left out with `--skip-unreadable`")
def test_unreadable_and_missing_images_are_left_out_on_request(tmp_path: Path) -> None:
    write_images(tmp_path)
    (tmp_path / "a.jpg").unlink()
    (tmp_path / "c.jpg").write_bytes(b"")
    (tmp_path / "list.csv").write_text(WITH_SPLITS["csv"][1], newline="")
    with pytest.raises(DatasetCorruptError, match=r"2 images cannot be read .*a\.jpg .*c\.jpg \(empty\)"):
        opened("captions:list.csv", tmp_path).check_images()
    dataset = open_dataset("captions:list.csv", tmp_path, tmp_path / "cache", 16, skip_unreadable=True)
    assert dataset.skipped == ("a.jpg", "c.jpg") and len(dataset.split("test").images) == 1


WRONG = {
    "no columns": ("x.csv", "name,words\na,b\n", "line 1: no column for images"),
    "no caption": ("x.jsonl", '{"image": "a.jpg", "caption": "x"}\n{"image": "b.jpg"}\n', "line 2 has no caption"),
    "an unknown split": ("x.csv", "image,caption,split\na.jpg,x,dev2\n", "the split 'dev2' is none of"),
    "two splits": ("x.csv", "image,caption,split\na.jpg,x,train\na.jpg,y,test\n", "in two splits"),
    "a split for some": ("x.csv", "image,caption,split\na.jpg,x,train\nb.jpg,y,\n", "b.jpg is in no split"),
    "instances": ("x.json", '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1}]}', "captions_"),
    "no list": ("x.json", "7", "lists no images"),
    "no rows": ("x.csv", "image,caption\n", "lists no image"),
    "not JSON": ("x.jsonl", '{"image": "a.jpg", "caption": "x"}\n{"image"\n', "line 2"),
}


@pytest.mark.parametrize("problem", WRONG)
@pytest.mark.loads("captions", "a table without its columns, or with odd lines", "one line with file and line")
def test_what_is_wrong_is_said_on_one_line(problem: str, tmp_path: Path) -> None:
    name, text, message = WRONG[problem]
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetCorruptError) as caught:
        read_captions(tmp_path / name)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_where_files_and_images_are_looked_for_is_said(tmp_path: Path) -> None:
    for name in ("captions:none.csv", "captions:", "captions:../x.csv"):
        with pytest.raises(BenchmarkError, match="below --data-dir"):
            opened(name, tmp_path)
    (tmp_path / "list.csv").write_text("image,caption\nx.jpg,a dog\n")
    with pytest.raises(DatasetCorruptError, match=r"such as x\.jpg, are neither in"):
        opened("captions:list.csv", tmp_path)


@pytest.mark.parametrize(
    ("form", "file"), [("kaggle's table", "results.csv"), ("hub's table", "flickr_annotations_30k.csv")]
)
@pytest.mark.loads("captions", "the two common Flickr30K tables", "`flickr30k` reads them")
def test_flickr30k_reads_the_tables_in_circulation(form: str, file: str, tmp_path: Path) -> None:
    folder = tmp_path / "flickr30k"
    write_images(folder / "flickr30k-images")
    (folder / file).write_text((WITH_SPLITS | WITHOUT)[form][1], newline="")
    dataset = opened("flickr30k", tmp_path)
    entries = dataset._entries  # type: ignore[attr-defined]
    assert [(name, texts) for name, _, texts in entries] == [(name, texts) for name, _, texts in EXPECTED]
    if form == "hub's table":
        assert entries == EXPECTED


# -- shards ------------------------------------------------------------------------------------------------------------


def picture_bytes(shade: int) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (20, 20), (shade, 255 - shade, 100)).save(stream, "PNG")
    return stream.getvalue()


def write_shard(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def labelled(count: int, first: int = 0) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for number in range(count):
        members |= {f"s{number}.png": picture_bytes(first + number), f"s{number}.cls": str(number % 2).encode()}
    return members


@pytest.mark.loads("captions", "WebDataset shards of classes", "load: `shards:NAME`")
def test_shards_of_clip_benchmark(tmp_path: Path) -> None:
    for part, count in (("train", 6), ("test", 4)):
        write_shard(tmp_path / "birds" / part / "0.tar", labelled(count, first=100 if part == "test" else 0))
    (tmp_path / "birds" / "classnames.txt").write_text("robin\nred kite\n")
    (tmp_path / "birds" / "zeroshot_classification_templates.txt").write_text("a photo of a {c}, a bird.\n")
    dataset = opened("shards:birds", tmp_path)
    assert dataset.class_names == ("robin", "red kite") and dataset.templates == ("a photo of a {}, a bird.",)
    test = dataset.split("test")
    assert test.labels is not None and test.labels.tolist() == [0, 1, 0, 1]
    assert (
        test.images.read(range(4))[:, 0, 8, 8].tolist() == [100, 101, 102, 103]
        and len(dataset.split("train").images) == 6
    )
    assert dataset.notes == ()
    with pytest.raises(DatasetCorruptError, match="no val split"):
        dataset.split("val")


@pytest.mark.loads("captions", "WebDataset shards of captions", "load; parted where no name says how")
def test_shards_with_captions_are_parted_where_no_name_says_how(tmp_path: Path) -> None:
    for shard in range(2):
        members: dict[str, bytes] = {}
        for number in range(5):
            members[f"{shard}{number}.png"] = picture_bytes(10 * shard + number)
            caption = f"a dog {number}" if shard else json.dumps({"caption": f"a cat {number}"})
            members[f"{shard}{number}.{'txt' if shard else 'json'}"] = caption.encode()
        write_shard(tmp_path / "web" / f"{shard:05}.tar", members)
    dataset = opened("shards:web", tmp_path)
    assert [len(dataset.split(part).images) for part in ("train", "test")] == [8, 2] and "20%" in dataset.notes[0]
    train = dataset.split("train")
    for index, (caption,) in enumerate(train.captions or ()):
        shade = int(train.images.read([index])[0, 0, 8, 8])
        assert shade == int(caption[-1]) + (10 if "dog" in caption else 0)


Break = Callable[[Path], None]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "classnames.txt").unlink(), "numbers of classes: write"),
        (lambda folder: (folder / "classnames.txt").write_text("robin\n"), "has 1 names, the classes 2"),
        (lambda folder: (folder / "0.tar").write_bytes(b"no tar" * 200), "cannot be read"),
        (lambda folder: (folder / "0.tar").rename(folder / "0.tar.gz"), "compressed: unpack it"),
    ],
    ids=["no names", "too few names", "damaged", "compressed"],
)
@pytest.mark.loads("captions", "compressed or damaged shards", "one line says what to do")
def test_what_is_wrong_with_shards_is_said(break_it: Break, message: str, tmp_path: Path) -> None:
    write_shard(tmp_path / "birds" / "0.tar", labelled(8))
    (tmp_path / "birds" / "classnames.txt").write_text("robin\nred kite\n")
    break_it(tmp_path / "birds")
    with pytest.raises(DatasetCorruptError, match=message):
        _ = opened("shards:birds", tmp_path).class_names
