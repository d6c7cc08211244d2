from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image, ImageStat


@pytest.mark.parametrize(
    ("picture", "width", "size"),
    [(0, 160, (160, 120)), (5, 64, (64, 48)), (11, 333, (333, 250)), (1, 1, (1, 1)), (2, 1280, (1280, 960))],
)
def test_a_thumbnail_has_the_width_asked_for_and_the_shape_of_its_photo(
    app: ModuleType, picture: int, width: int, size: tuple[int, int]
) -> None:
    assert app.thumbnail(picture, width) is None
    with Image.open(app.pictures.folder() / "thumbnails" / f"{picture:02}-{width}.webp") as small:
        small.load()
        assert (small.format, small.size) == ("WEBP", size)


def test_a_thumbnail_looks_like_its_photo(app: ModuleType) -> None:
    app.thumbnail(3, 32)
    with Image.open(app.pictures.folder() / "thumbnails" / "03-32.webp") as small:
        shown = ImageStat.Stat(small.convert("RGB")).mean
    with Image.open(app.pictures.photo(3)) as photo:
        assert shown == pytest.approx(ImageStat.Stat(photo).mean, abs=8)


def test_a_width_below_one_pixel_is_an_error(app: ModuleType) -> None:
    with pytest.raises(ValueError, match="must be > 0"):
        app.thumbnail(0, 0)


def test_a_photo_is_a_real_jpeg_and_the_same_every_time(app: ModuleType) -> None:
    path = app.pictures.photo(7)
    with Image.open(path) as photo:
        photo.load()
        assert (photo.format, photo.size) == ("JPEG", app.pictures.SIZE)
    first = path.read_bytes()
    assert len(first) > 100_000  # as a photo, not as a flat drawing
    path.unlink()
    assert app.pictures.photo(7).read_bytes() == first


def test_photos_differ_and_any_number_names_one(app: ModuleType) -> None:
    count = app.pictures.COUNT
    assert len({app.pictures.photo(number).read_bytes() for number in range(count)}) == count
    assert app.pictures.photo(count + 4) == app.pictures.photo(4) == app.pictures.photo(4 - count)


def test_workers_that_race_for_a_photo_all_read_it_whole(
    app: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITTLEQ_ACTORS_DIR", str(tmp_path / "new" / "folder"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(app.thumbnail, [0] * 8))
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["00-160.webp", "00.jpg"]  # no leftovers


class TestDefaultFolder:
    @pytest.fixture(autouse=True)
    def _temporary_files_in(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("LITTLEQ_ACTORS_DIR")
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def test_is_private(self, app: ModuleType, tmp_path: Path) -> None:
        assert app.pictures.folder().parent == tmp_path
        assert app.pictures.folder().stat().st_mode & 0o777 == 0o700

    def test_is_refused_where_others_have_access(self, app: ModuleType) -> None:
        app.pictures.folder().chmod(0o770)
        with pytest.raises(PermissionError, match="LITTLEQ_ACTORS_DIR"):
            app.pictures.folder()

    def test_is_refused_where_it_is_a_link(self, app: ModuleType, tmp_path: Path) -> None:
        path = app.pictures.folder()
        path.rmdir()
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(PermissionError, match="0700"):
            app.pictures.folder()
