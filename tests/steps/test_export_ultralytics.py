"""The export step on Ultralytics' checkpoints, where their package is not installed."""

import sys

from exported import message


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    (tmp_path / "yolo11n.pt").write_bytes(b"PK")
    said = message(tmp_path / "yolo11n.pt", tmp_path / "w", format="ultralytics")
    assert "mixedprecision-operator[runner,ultralytics]" in said
