"""Folders that link to each other come to an end, and each image is found."""

from mpj_runner.vision.datasets import images_below
from mpj_runner.walk import files_below


def test_folders_that_link_to_each_other_come_to_an_end(tmp_path):
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.png").touch()
        (tmp_path / name / "over").symlink_to(tmp_path / other)
    assert set(images_below(tmp_path)) == {"a/a.png", "a/over/b.png", "b/b.png", "b/over/a.png"}


def test_a_link_back_up_is_not_followed_and_one_to_nothing_is_told_of(tmp_path):
    (tmp_path / "up").symlink_to(tmp_path)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    assert [path.name for path in files_below(tmp_path)] == ["gone.png"]
