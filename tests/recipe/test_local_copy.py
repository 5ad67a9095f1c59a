"""recipe/data/local_copy.py: whole files pass, and each way of being broken is one sentence."""

import re

import pandas
import pytest

from recipe.data.local_copy import DataError, check_copy

# The lines of a JSON source, and what is wrong with the file that they are written to.
ROW = '{"problem": "Find x.", "answer": "é1"}\n'
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
BROKEN = [
    ("a.jsonl", POINTER.encode(), "{path} is a Git LFS pointer"),
    ("a.parquet", POINTER.encode(), "{path} is a Git LFS pointer"),
    ("a.jsonl", b"", "{path} is an empty file"),
    ("a.parquet", b"", "{path} is an empty file"),
    ("a.jsonl", b"\n \n", "{path} has 0 rows"),
    ("a.json", b"[]", "{path} has 0 rows"),
    ("a.json", b"[{}, 7]", "{path}, object 1 is not a JSON object: 7"),
    ("a.jsonl", (ROW * 3)[:-10].encode(), "{path} is broken or cut short at line 3, column "),
    ("a.jsonl", (ROW + "\n" + ROW + "{]\n").encode(), "{path} is broken or cut short at line 4, column 2"),
    ("a.json", b'[\n{"problem": "Find x.",\n"answer"', "{path} is broken or cut short at line 3, column "),
    ("a.jsonl", (ROW * 2).encode("latin-1"), "{path}, line 1 is not UTF-8 (byte 0xe9)"),
    ("a.jsonl", (ROW * 2).encode("utf-16"), "{path}, line 1 is not UTF-8 (byte 0xff)"),
    ("a.jsonl", (ROW + "7\n").encode(), "{path}, line 2 is not a JSON object: 7"),
    ("a.parquet", b"PAR1 and no more", "{path} is no whole parquet file"),
]


@pytest.mark.parametrize(("file", "content", "sentence"), BROKEN, ids=[sentence for *_, sentence in BROKEN])
@pytest.mark.parametrize("in_a_folder", [False, True])
def test_a_broken_file_is_a_sentence_with_its_path_and_line(file, content, sentence, in_a_folder, tmp_path):
    path = tmp_path / "copy" / file
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(sentence.format(path=path))) as raised:
        check_copy(path.parent if in_a_folder else path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_damaged_parquet_file_is_a_sentence(damage, tmp_path):
    path = tmp_path / "a.parquet"
    pandas.DataFrame({"answer": [f"answer {i}" for i in range(100)]}).to_parquet(path)
    check_copy(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else whole[:100] + bytes(400) + whole[500:])
    with pytest.raises(DataError, match=f"^{path} is no whole parquet file: "):
        check_copy(path)
    pandas.DataFrame({"answer": []}).to_parquet(path)
    with pytest.raises(DataError, match=f"^{path} has 0 rows"):
        check_copy(path)


def test_whole_files_are_fine(tmp_path):
    for name, content in (("a.jsonl", ROW * 2), ("b.json", f"[\n{ROW},\n{ROW}]"), ("c.jsonl", "\ufeff\n" + ROW)):
        (tmp_path / name).write_text(content)
        check_copy(tmp_path / name)
    check_copy(tmp_path)
