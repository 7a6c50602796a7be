"""What the listing says of each encoder and detector, on a machine without a hub."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command

from search import encoders, offers, weights
from search.encoders import runtime
from tests.search import tiny_encoders


@pytest.fixture
def folder(tmp_path: Path, settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ``ENCODERS_DIR`` and a cache of its own, and no hub."""
    settings.ENCODERS_DIR = tmp_path / "own"
    settings.DATA_DIR = tmp_path / "data"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "own"


def test_what_is_here_and_what_is_not(folder: Path) -> None:
    tiny_encoders.siglip(folder / "google" / "siglip2-base-patch16-224")
    tiny_encoders.vit(folder / "mine")
    tiny_encoders.sentences(folder / "sentences")
    tiny_encoders.vit(folder / "spoilt")
    (folder / "spoilt" / "config.json").write_text("{")
    (folder / "spoilt" / "preprocessor_config.json").unlink()
    found = {spec.name: (spec, offers.of_encoder(spec)) for spec in encoders.all_specs()}
    _, starter = found["starter"]
    assert (starter.is_here, starter.megabytes, starter.reason) == (True, 0, "")
    _, copied = found["joint:google/siglip2-base-patch16-224"]
    assert (copied.is_here, copied.megabytes, copied.is_recommended) == (True, 0, True)
    mine, offer = found["mine"]
    assert offer.is_here
    assert mine.modalities == {"image"}
    assert found["sentences"][0].modalities == {"text"}
    assert not [name for name in found if name.startswith(("sentences/", "spoilt"))]
    _, away = found["timm:vgg16"]
    assert (away.is_here, away.megabytes) == (False, 553)
    assert "cannot be reached" in away.reason
    assert str(weights.folder()) in away.reason


def test_times_are_those_of_this_machine(folder: Path) -> None:
    spec = encoders.spec("joint:openai/clip-vit-base-patch32")
    assert offers.of_encoder(spec).per_second is None
    rate = runtime.measure_speed()
    assert rate > 0
    assert offers.of_encoder(spec).per_second == pytest.approx(rate / 0.25)


def test_the_command_lists_them(folder: Path) -> None:
    out = StringIO()
    call_command("encoders", stdout=out)
    assert "to be fetched: 1,500 MB" in out.getvalue()
    assert "RT-DETR v2" in out.getvalue()


def test_the_command_fetches_one_or_says_why_not(folder: Path) -> None:
    tiny_encoders.clip(folder / "clip")
    out = StringIO()
    call_command("encoders", fetch="clip", stdout=out)
    assert "It makes: joint with 24 values" in out.getvalue()
    for name in ("timm:vgg16", "words:google/owlv2-base-patch16-ensemble"):
        with pytest.raises(CommandError, match="HF_HUB_OFFLINE is set"):
            call_command("encoders", fetch=name, stdout=StringIO())
