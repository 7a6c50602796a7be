"""Search by areas of images: what is cut and compared, exactly, and which region of a result was best."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from datasets import creation, media, operations, regions, selection
from datasets.errors import Refused
from datasets.models import Annotation, Dataset, Item, Region
from search import answers, encoders, query, reasons, region_ranking, vectors
from search.models import EmbeddingSpace
from tests.fixtures import add_class, add_items, jpeg
from tests.search.test_query import Matrix, brute_force, put, random, space_of
from tests.search.test_region_layers import fill, photos_in

QUARTER = [0.5, 0.0, 0.5, 0.5]


def add_regions(
    space: EmbeddingSpace, items: list[Item], number: list[int], matrix: Matrix
) -> tuple[list[Region], Matrix]:
    """``number[n]`` regions in the n-th item, with a row of ``matrix`` each; what the database holds of them."""
    vectors.create_region_partition(space)
    made = Region.objects.bulk_create(
        Region(item=item, x=0, y=0, width=0.5, height=0.5)
        for item, count in zip(items, number, strict=True)
        for _ in range(count)
    )
    if not made:
        return [], np.zeros((0, space.dimension), dtype=np.float32)
    vectors.write_regions(space, [one.pk for one in made], [one.item_id for one in made], vectors.normalised(matrix))
    stored = vectors.of_regions(space, [(one.item_id, one.pk) for one in made])
    return made, np.array([stored[one.pk] for one in made])


def best_by_brute_force(
    items: list[Item], whole: Matrix, made: list[Region], parts: Matrix, wanted: Matrix
) -> list[tuple[int, float, int]]:
    """Item, score, region (0 for the whole), best first."""
    of_item = {pk: (score, 0) for pk, score in brute_force([item.pk for item in items], whole, wanted)}
    found = [(region, score) for region, score in brute_force([one.pk for one in made], parts, wanted)]
    item_of = {one.pk: one.item_id for one in made}
    for region, score in found:  # best first, of equal ones the lower id
        if np.float32(score) > np.float32(of_item.get(item_of[region], (-2.0, 0))[0]):
            of_item[item_of[region]] = (score, region)
    return sorted(((pk, score, region) for pk, (score, region) in of_item.items()), key=lambda one: (-one[1], one[0]))


@given(number=st.integers(1, 40), seed=st.integers(0, 1000), data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ranking_equals_brute_force_over_items_and_regions(
    alice: Any, number: int, seed: int, data: st.DataObject
) -> None:
    dataset = creation.create_dataset(name="random", modality="image", by=alice)
    items = add_items(dataset, number // 2, split="train") + add_items(dataset, number - number // 2, split="test")
    space = space_of(dataset)
    whole = put(space, items, random(number, 1280, seed))
    counts = data.draw(st.lists(st.integers(0, 4), min_size=number, max_size=number), label="regions")
    made, parts = add_regions(space, items, counts, random(sum(counts), 1280, seed + 1))
    other = creation.create_dataset(name="other", modality="image", by=alice)
    add_regions(space_of(other), add_items(other, 1), [1], random(1, 1280))
    limit = data.draw(st.integers(1, 50), label="limit")
    for split, chosen in (("train", items[: number // 2]), (None, items)):
        said = {"like": [items[0].pk], "regions": bool(made) or None, "filter": {"split": split} if split else None}
        wanted = vectors.normalised(whole[0])
        ids = {item.pk for item in chosen}
        here = [at for at, one in enumerate(made) if one.item_id in ids]
        expected = best_by_brute_force(chosen, whole[: len(chosen)], [made[at] for at in here], parts[here], wanted)
        answer = answers.run(query.parse(dataset, said), limit=limit)
        assert answer.best.item_ids.tolist() == [pk for pk, _, _ in expected][:limit]
        np.testing.assert_allclose(answer.best.scores, [score for _, score, _ in expected][:limit], atol=2e-6)
        assert (answer.embedded, answer.total) == (len(chosen), len(chosen))
        assert sum(answer.histogram.counts) == len(chosen)
        if made:
            assert isinstance(answer.best, region_ranking.RankedByRegion)
            assert answer.best.region_ids.tolist() == [region for _, _, region in expected][:limit]
            assert answer.best.regions == len(here)


def test_of_equal_scores_the_whole_goes_first_and_the_lower_id(dataset: Dataset) -> None:
    items = add_items(dataset, 2)
    space = space_of(dataset)
    matrix = random(2, 1280)
    put(space, items, matrix)
    same = np.stack([matrix[0], matrix[0], matrix[0]])
    made, _ = add_regions(space, items, [1, 2], same)
    ranked = answers.run(query.parse(dataset, {"like": [items[0].pk], "regions": True}), limit=1000).best
    assert isinstance(ranked, region_ranking.RankedByRegion)
    assert ranked.item_ids.tolist() == [items[0].pk, items[1].pk]
    assert ranked.region_ids.tolist() == [0, made[1].pk]
    assert ranked.scores.tolist() == pytest.approx([1, 1], abs=1e-3)


def test_a_region_makes_an_item_without_a_vector_findable(dataset: Dataset) -> None:
    items = add_items(dataset, 3)
    space = space_of(dataset)
    matrix = random(3, 1280)
    put(space, items[:1], matrix[:1])
    add_regions(space, items, [0, 1, 0], matrix[:1])
    answer = answers.run(query.parse(dataset, {"like": [items[0].pk], "regions": True}), limit=1000)
    assert answer.best.item_ids.tolist() == [items[0].pk, items[1].pk]
    assert (answer.embedded, answer.total) == (2, 3)


def test_regions_are_searched_when_an_example_is_one_or_when_told(dataset: Dataset) -> None:
    items = add_items(dataset, 2)
    space = space_of(dataset)
    put(space, items, random(2, 1280))

    def run(**said: Any) -> Any:
        return answers.run(query.parse(dataset, said), limit=1000).best

    with pytest.raises(region_ranking.NoRegions, match="Add tiles or a detector"):
        run(like=[items[0].pk], regions=True)
    (region,), _ = add_regions(space, items, [1, 0], random(1, 1280, seed=5))
    area = {"item": items[0].pk, "region": region.pk}
    by_region = region_ranking.RankedByRegion
    assert not isinstance(run(like=[items[0].pk]), by_region)
    assert isinstance(run(like=[items[0].pk], regions=True), by_region)
    assert isinstance(run(like=[area]), by_region)
    assert isinstance(run(like=[items[1].pk], unlike=[area]), by_region)
    assert not isinstance(run(like=[area], regions=False), by_region)
    assert run(like=[area]).item_ids[0] == items[0].pk


# With the real encoder -----------------------------------------------------------------------------------------------


def quarters(folder: Path, number: int) -> list[Path]:
    """Pictures of four quarters, each quarter a pattern of its own: that of the n-th's upper right is ``jpeg(100 + n)``."""
    files = []
    for at in range(number):
        picture = Image.new("RGB", (400, 400))
        for place, seed in enumerate((at, 100 + at, 200 + at, 300 + at)):
            part = Image.open(io.BytesIO(jpeg(seed, (200, 200))))
            picture.paste(part, (200 * (place % 2), 200 * (place // 2)))
        files.append(folder / f"{at:03}.png")
        picture.save(files[-1])
    return files


@pytest.fixture
def tiled(dataset: Dataset, alice: Any, tmp_path: Path, unheard: None) -> list[Item]:
    items = photos_in(dataset, quarters(tmp_path, 8))
    fill(dataset, alice, "tile", scales=[2], overlap=0)
    return items


def tile(item: Item, at: int) -> Region:
    return list(Region.objects.filter(item=item).order_by("pk"))[at]


def upper_right(item: Item) -> Region:
    return Region.objects.get(item=item, x=0.5, y=0, kind="tile")


def test_an_area_has_the_vector_of_the_region_in_its_place(dataset: Dataset, tiled: list[Item]) -> None:
    space = space_of(dataset)
    region = upper_right(tiled[2])
    stored = vectors.of_regions(space, [(tiled[2].pk, region.pk)])[region.pk]
    for area in ({"box": QUARTER}, {"polygon": [[0.5, 0], [1, 0], [1, 0.5], [0.5, 0.5]]}, {"region": region.pk}):
        _, vector = query.compile(query.parse(dataset, {"like": [{"item": tiled[2].pk, **area}]}))
        assert float(vector @ stored) > 0.995


def test_a_drawn_box_finds_the_same_thing_in_an_upload_and_tells_where(dataset: Dataset, tiled: list[Item]) -> None:
    # In the upload, what lies in the upper right of the third picture lies in the lower left.
    upload = Image.new("RGB", (400, 400))
    upload.paste(Image.open(io.BytesIO(jpeg(102, (200, 200)))), (0, 200))
    sent = io.BytesIO()
    upload.save(sent, "PNG")
    sent.seek(0)
    image = query.keep_image(dataset, sent)
    asked = query.parse(dataset, {"image": image.sha256, "image_box": [0, 0.5, 0.5, 0.5]})
    ranked = answers.run(asked, limit=1).best
    assert isinstance(ranked, region_ranking.RankedByRegion)
    assert ranked.item_ids.tolist() == [tiled[2].pk]
    assert ranked.region_ids.tolist() == [upper_right(tiled[2]).pk]
    assert ranked.scores[0] > 0.98


def test_of_a_polygon_only_the_inside_counts(dataset: Dataset, tiled: list[Item]) -> None:
    half = {"item": tiled[0].pk, "polygon": [[0, 0], [1, 0], [0, 1]]}
    _, triangle = query.compile(query.parse(dataset, {"like": [half]}))
    _, box = query.compile(query.parse(dataset, {"like": [{"item": tiled[0].pk, "box": [0, 0, 1, 1]}]}))
    assert float(triangle @ box) < 0.95


def test_a_region_without_a_vector_is_cut_now(dataset: Dataset, tiled: list[Item]) -> None:
    drawn = regions.draw(tiled[1], regions.Shape(0.5, 0, 0.5, 0.5))
    ranked = answers.run(query.parse(dataset, {"like": [{"item": tiled[1].pk, "region": drawn.pk}]}), limit=1).best
    assert isinstance(ranked, region_ranking.RankedByRegion)
    assert ranked.region_ids.tolist() == [upper_right(tiled[1]).pk]


def test_areas_items_and_words_combine_as_documented(dataset: Dataset, tiled: list[Item]) -> None:
    like = [tiled[0].pk, {"item": tiled[1].pk, "box": QUARTER}]
    asked = query.parse(dataset, {"text": "a red car", "like": like, "unlike": [{"item": tiled[2].pk, "box": QUARTER}]})
    space, parts = query.parts_of(asked)
    assert space.output == "language"
    assert [(one.kind, one.is_wanted) for one in parts] == [
        ("example", True), ("example", True), ("example", False), ("text", True),
    ]  # fmt: skip
    wanted = 2 * np.mean([parts[0].vector, parts[1].vector, parts[3].vector], axis=0) - parts[2].vector
    np.testing.assert_allclose(query.compile(asked)[1], vectors.normalised(wanted), atol=1e-6)


@pytest.mark.parametrize(
    ("area", "said"),
    [
        ({"box": [0.5, 0.5, 0.6, 0.1]}, "outside of the image"),
        ({"box": [0.5, 0.5, 0, 0.1]}, "no area"),
        ({"box": [0.5, 0.5, 0.1]}, "four numbers"),
        ({"box": "left"}, "four numbers"),
        ({"box": [0, 0, True, 1]}, "four numbers"),
        ({"box": [0, 0, 1, 1], "region": 1}, "has box and region"),
        ({"polygon": [[0, 0], [1, 1]]}, "3 to 1,000 points"),
        ({"polygon": [0, 1]}, "list of points"),
        ({"polygon": [[0, 0], [0, 1], [1, 2]]}, "outside of the image"),
        ({"region": 2**70}, "has no region"),
        ({"region": "x"}, "is the id of a region"),
        ({"circle": [0, 0, 1]}, "has no “circle”"),
    ],
)
def test_what_is_no_area_gets_a_sentence(
    dataset: Dataset, area: dict[str, Any], said: str, vera: Any, client_of: Any
) -> None:
    (item,) = add_items(dataset, 1)
    body = {"like": [{"item": item.pk, **area}]}
    response = client_of(vera).post(f"/api/v1/datasets/{dataset.pk}/search/", body, format="json")
    assert response.status_code == 400
    assert said in response.json()["detail"]


def test_examples_that_cannot_be_cut_are_told(
    dataset: Dataset, multi: Dataset, foreign: Dataset, tmp_path: Path, unheard: None
) -> None:
    files = quarters(tmp_path, 2)
    items = photos_in(dataset, files)
    text, stranger = add_items(multi, 1)[0], add_items(foreign, 1)[0]
    region = regions.draw(stranger, regions.Shape(0, 0, 1, 1))

    def refusal(of: Dataset, *like: Any, **said: Any) -> str:
        with pytest.raises(Refused) as refused:
            answers.run(query.parse(of, {"like": list(like), **said}), limit=1)
        return str(refused.value)

    assert "only images have areas" in refusal(multi, {"item": text.pk, "box": QUARTER})
    assert "has no item" in refusal(dataset, {"item": stranger.pk, "box": QUARTER})
    assert "has no region" in refusal(dataset, {"item": stranger.pk, "region": region.pk})
    assert "has no region" in refusal(dataset, {"item": items[0].pk, "region": region.pk})
    assert "there is none" in refusal(dataset, image_box=QUARTER)
    many = [{"item": items[0].pk, "box": [0, 0, 1, (at + 1) / 30]} for at in range(21)]
    assert "a query takes 20" in refusal(dataset, *many)
    files[0].unlink()
    assert "000.png: its file cannot be read" in refusal(dataset, {"item": items[0].pk, "box": QUARTER})
    files[1].write_text("<html>")
    assert "001.png: " in refusal(dataset, {"item": items[1].pk, "box": QUARTER})
    gone = items[1].pk
    items[1].delete()
    assert "has no item" in refusal(dataset, {"item": gone, "box": QUARTER})
    EmbeddingSpace.objects.filter(dataset=dataset).update(state="preparing")
    assert "is being fetched" in refusal(dataset, {"item": items[0].pk, "box": QUARTER})
    EmbeddingSpace.objects.filter(dataset=dataset).update(state="failed", problem="It broke.")
    assert "has failed" in refusal(dataset, {"item": items[0].pk, "box": QUARTER})


# The API -------------------------------------------------------------------------------------------------------------


def test_the_answer_says_which_region_matched(dataset: Dataset, tiled: list[Item], vera: Any, client_of: Any) -> None:
    client = client_of(vera)
    address = f"/api/v1/datasets/{dataset.pk}"
    body = {"like": [{"item": tiled[3].pk, "box": QUARTER}], "limit": 8}
    answer = client.post(f"{address}/search/", body, format="json").json()
    first = answer["results"][0]
    region = upper_right(tiled[3])
    assert first["item"]["id"] == tiled[3].pk
    assert first["region"] == {
        "id": region.pk, "kind": "tile", "x": 0.5, "y": 0.0, "width": 0.5, "height": 0.5, "polygon": None, "score": first["score"],
    }  # fmt: skip
    assert (answer["embedded"], answer["total"], answer["regions"]) == (8, 8, 32)
    assert answer["query"]["like"] == body["like"]
    again = client.post(f"{address}/search/", {**answer["query"], "limit": 8}, format="json").json()
    assert again["results"] == answer["results"]

    ranking = client.post(f"{address}/ranking/", {"like": body["like"]}, format="json")
    assert (ranking["X-Count"], ranking["X-Regions"], ranking["X-Region-Id-Type"]) == ("8", "32", "uint32")
    ids, scores, found = (
        np.frombuffer(ranking.content[32 * at :][:32], kind) for at, kind in enumerate(("<u4", "<f4", "<u4"))
    )
    assert ids.tolist() == [one["item"]["id"] for one in answer["results"]]
    assert scores.tolist() == [one["score"] for one in answer["results"]]
    assert found.tolist() == [one.get("region", {"id": 0})["id"] for one in answer["results"]]
    whole = client.post(f"{address}/ranking/", {"like": body["like"], "regions": False}, format="json")
    assert "X-Region-Id-Type" not in whole.headers
    assert len(whole.content) == 64


def test_an_upload_comes_with_a_box_and_can_be_seen_again(
    dataset: Dataset, tiled: list[Item], vera: Any, client_of: Any, charlie: Any
) -> None:
    client = client_of(vera)
    address = f"/api/v1/datasets/{dataset.pk}"
    upload = SimpleUploadedFile("a.png", Path(tiled[1].external_path).read_bytes(), content_type="image/png")
    form = {"image": upload, "image_box": "[0.5, 0, 0.5, 0.5]", "limit": 1, "regions": "true"}
    answer = client.post(f"{address}/search/", form, format="multipart").json()
    assert answer["results"][0]["region"]["id"] == upper_right(tiled[1]).pk
    assert answer["query"]["image_box"] == QUARTER
    shown = client.get(f"{address}/query-images/{answer['query']['image']}/")
    assert shown["Content-Type"] == "image/jpeg"
    assert Image.open(io.BytesIO(b"".join(shown.streaming_content))).size == (400, 400)
    other = creation.create_dataset(name="else", modality="image", by=charlie)
    missing = client_of(charlie).get(f"/api/v1/datasets/{other.pk}/query-images/{answer['query']['image']}/")
    assert missing.status_code == 400
    form = {"like": [str(tiled[0].pk), f'{{"item": {tiled[1].pk}, "box": [0.5, 0, 0.5, 0.5]}}'], "limit": 1}
    assert len(client.post(f"{address}/search/", form, format="multipart").json()["query"]["like"]) == 2


def test_what_is_no_image_and_an_image_that_is_gone_are_refused(
    dataset: Dataset, tiled: list[Item], vera: Any, client_of: Any
) -> None:
    address = f"/api/v1/datasets/{dataset.pk}/search/"
    page = SimpleUploadedFile("a.png", b"<html>")
    refused = client_of(vera).post(address, {"image": page, "image_box": "[0,0,1,1]"}, format="multipart")
    assert refused.status_code == 400
    assert "cannot be searched with" in refused.json()["detail"]
    image = query.keep_image(dataset, io.BytesIO(jpeg(77)))
    media.default_storage.delete(image.file)
    for body in ({"image": image.sha256}, {"image": image.sha256, "image_box": QUARTER}):
        gone = client_of(vera).post(address, body, format="json")
        assert gone.status_code == 400
        assert "not kept here any more" in gone.json()["detail"]


def test_why_tells_the_likeness_with_every_part(dataset: Dataset, tiled: list[Item], vera: Any, client_of: Any) -> None:
    area = {"item": tiled[4].pk, "box": QUARTER}
    like = [tiled[0].pk, area]
    body = {"like": like, "unlike": [tiled[5].pk], "item": tiled[4].pk}
    answer = client_of(vera).post(f"/api/v1/datasets/{dataset.pk}/search/why/", body, format="json").json()
    space = space_of(dataset)
    _, parts = query.parts_of(query.parse(dataset, {key: body[key] for key in ("like", "unlike")}))
    whole = vectors.of_items(space, [tiled[4].pk])[tiled[4].pk]
    ranked = answers.run(query.parse(dataset, {"like": like, "unlike": [tiled[5].pk]}), limit=1000).best
    assert answer["score"] == pytest.approx(dict(zip(ranked.item_ids, ranked.scores, strict=True))[tiled[4].pk])
    assert answer["region"]["id"] == upper_right(tiled[4]).pk
    first, second, last = answer["parts"]
    assert (first["item"], first["box"], first["side"]) == (tiled[4].pk, QUARTER, "like")
    assert first["region_score"] > 0.99
    assert first["score"] == pytest.approx(float(parts[1].vector @ whole), abs=1e-4)
    assert (second["item"], last["item"], last["side"]) == (tiled[0].pk, tiled[5].pk, "unlike")
    assert "box" not in second
    assert first["thumbnail_url"].startswith(f"/api/v1/items/{tiled[4].pk}/thumbnail/")


def test_why_tells_the_polygon_that_is_meant(dataset: Dataset, tiled: list[Item], vera: Any, client_of: Any) -> None:
    triangle = [[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]]
    body = {"like": [{"item": tiled[4].pk, "polygon": triangle}], "item": tiled[4].pk}
    answer = client_of(vera).post(f"/api/v1/datasets/{dataset.pk}/search/why/", body, format="json").json()
    (part,) = answer["parts"]
    assert (part["polygon"], part["box"]) == (triangle, [0.0, 0.0, 0.5, 0.5])


def test_why_names_words_and_says_what_is_not_there(dataset: Dataset, foreign: Dataset, tiled: list[Item]) -> None:
    asked = query.parse(dataset, {"text": "a cat"})
    why = reasons.explain(asked, tiled[0].pk)
    assert [one.part.kind for one in why.likenesses] == ["text"]
    assert why.likenesses[0].score == pytest.approx(why.score, abs=1e-3)
    with pytest.raises(Refused, match="has no item"):
        reasons.explain(asked, add_items(foreign, 1)[0].pk)
    with pytest.raises(Refused, match="has no vector"):
        reasons.explain(asked, add_items(dataset, 1)[0].pk)


def test_a_search_by_area_takes_the_same_queries_whatever_the_number_of_results(
    dataset: Dataset, tiled: list[Item], vera: Any, client_of: Any, django_assert_max_num_queries: Any
) -> None:
    client, address = client_of(vera), f"/api/v1/datasets/{dataset.pk}/search/"
    body = {"like": [{"item": tiled[3].pk, "box": QUARTER}]}
    encoders.get(dataset.encoder)
    for limit in (1, 8):
        with django_assert_max_num_queries(19):
            client.post(address, {**body, "limit": limit}, format="json")


# Labels on the regions that were found -------------------------------------------------------------------------------


def standing(dataset: Dataset) -> set[tuple[int, int | None, str]]:
    found = Annotation.objects.standing().filter(item__dataset=dataset)
    return set(found.values_list("item", "region", "label__name"))


def test_the_regions_that_a_query_found_are_labelled_and_undone(
    dataset: Dataset, tiled: list[Item], bob: Any, client_of: Any
) -> None:
    add_class(dataset, "corner")
    client, address = client_of(bob), f"/api/v1/datasets/{dataset.pk}"
    said = {"like": [{"item": tiled[3].pk, "box": QUARTER}]}
    ranked = answers.run(query.parse(dataset, said), limit=1000).best
    assert isinstance(ranked, region_ranking.RankedByRegion)
    cut = float(ranked.scores[4])
    meant = {
        (item, region, "corner")
        for item, region in zip(ranked.item_ids[:5].tolist(), ranked.region_ids[:5].tolist(), strict=True)
        if region and item != tiled[0].pk
    }
    assert len(meant) > 2
    chosen = {"query": said, "min_score": cut, "regions": True, "except": [tiled[0].pk]}
    seen = client.post(f"{address}/selection/", {"selection": chosen}, format="json").json()
    assert seen == {"count": len(meant), "labeled": 0, "labeled_by_people": 0}
    done = client.post(f"{address}/annotations/", {"selection": chosen, "label": "corner"}, format="json").json()
    assert done["changed"] == len(meant)
    assert standing(dataset) == meant
    log = client.get(f"{address}/operations/").json()["results"]
    assert log[0]["summary"] == f"corner on regions of {len(meant)} items"
    undone = client.post(f"/api/v1/operations/{done['operation']}/undo/").json()
    assert (undone["reverted"], standing(dataset)) == (len(meant), set())
    again = client.post(f"/api/v1/operations/{undone['operation']}/undo/").json()
    assert (again["reverted"], standing(dataset)) == (len(meant), meant)


def test_labels_of_regions_are_their_own(dataset: Dataset, tiled: list[Item], bob: Any, client_of: Any) -> None:
    for name in ("whole", "part", "other"):
        add_class(dataset, name)
    client, address = client_of(bob), f"/api/v1/datasets/{dataset.pk}/annotations/"
    item, one, two = tiled[0], tile(tiled[0], 0), tile(tiled[0], 1)

    def give(label: str | None, **said: Any) -> dict[str, Any]:
        mode = {"mode": "remove"} if label is None else {}
        body = {"selection": said.pop("selection"), "label": label, **mode, **said}
        return client.post(address, body, format="json").json()

    give("whole", selection={"ids": [item.pk]})
    both = {"region_ids": [one.pk, two.pk]}
    assert give("part", selection=both)["changed"] == 1  # items
    labelled = {(item.pk, None, "whole"), (item.pk, one.pk, "part"), (item.pk, two.pk, "part")}
    assert standing(dataset) == labelled
    kept = give("other", selection=both, keep_human=True)
    assert (kept["changed"], kept["skipped"], standing(dataset)) == (0, 2, labelled)
    replaced = give("other", selection={"region_ids": [two.pk]})
    assert standing(dataset) == labelled - {(item.pk, two.pk, "part")} | {(item.pk, two.pk, "other")}
    client.post(f"/api/v1/operations/{replaced['operation']}/undo/")
    assert standing(dataset) == labelled
    give(None, selection=both)
    assert standing(dataset) == {(item.pk, None, "whole")}


def test_an_undo_brings_back_a_region_that_was_removed_meanwhile(
    dataset: Dataset, tiled: list[Item], bob: Any, client_of: Any
) -> None:
    add_class(dataset, "part")
    client, address = client_of(bob), f"/api/v1/datasets/{dataset.pk}/annotations/"
    drawn = regions.draw(tiled[0], regions.Shape(0, 0, 0.5, 0.5))
    chosen = {"region_ids": [drawn.pk]}
    client.post(address, {"selection": chosen, "label": "part"}, format="json")
    taken = client.post(address, {"selection": chosen, "mode": "remove"}, format="json").json()
    regions.remove(drawn)
    assert not Region.objects.standing().filter(pk=drawn.pk).exists()
    operations.undo(operations.Operation.objects.get(pk=taken["operation"]), by=bob)
    assert Region.objects.standing().filter(pk=drawn.pk).exists()
    assert standing(dataset) == {(tiled[0].pk, drawn.pk, "part")}


def test_selections_of_regions_that_cannot_be_are_refused(
    dataset: Dataset, foreign: Dataset, tiled: list[Item], alice: Any
) -> None:
    theirs = regions.draw(add_items(foreign, 1)[0], regions.Shape(0, 0, 1, 1))
    for raw, said in (
        ({"region_ids": [theirs.pk]}, "has no region"),
        ({"region_ids": ["x"]}, "list of region ids"),
        ({"region_ids": [1], "ids": [1]}, "exactly one"),
        ({"all": True, "regions": True}, "beside a query"),
        ({"query": {"like": [tiled[0].pk]}, "regions": True}, "has found no regions"),
    ):
        with pytest.raises(Refused, match=said):
            selection.parse(dataset, raw)


def test_tags_of_a_selection_of_regions_go_to_their_items(
    dataset: Dataset, tiled: list[Item], bob: Any, client_of: Any
) -> None:
    chosen = {"region_ids": [tile(tiled[0], 0).pk, tile(tiled[0], 1).pk, tile(tiled[1], 0).pk]}
    address = f"/api/v1/datasets/{dataset.pk}/tags/"
    done = client_of(bob).post(address, {"selection": chosen, "add": ["seen"]}, format="json").json()
    assert done["changed"] == 2
    assert set(dataset.items.filter(tags=["seen"])) == {tiled[0], tiled[1]}
