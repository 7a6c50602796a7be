"""The neighbour graph: right neighbours, kept on disk, amended as vectors come and go."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.models import Dataset
from search import graph, vectors
from search.graph import Graph, Rows
from search.models import EmbeddingSpace
from tests.fixtures import add_items


def points(number: int, seed: int = 0, dimension: int = 16) -> vectors.Vectors:
    return vectors.normalised(np.random.default_rng(seed).normal(size=(number, dimension)))


def rows(number: int) -> Rows:
    return Rows(np.arange(1, number + 1) * 3, np.full(number, 7), points(number))


def truth(given: Rows, k: int) -> np.ndarray:
    scores = given.vectors @ given.vectors.T
    np.fill_diagonal(scores, -2)
    return np.argsort(-scores, axis=1)[:, :k]


def recall(found: Graph, given: Rows) -> float:
    k = found.neighbours.shape[1]
    pairs = zip(found.neighbours, truth(given, k), strict=True)
    return float(np.mean([len(np.intersect1d(a, b)) / k for a, b in pairs]))


@pytest.fixture
def space(dataset: Dataset) -> EmbeddingSpace:
    """A space of 60 items with vectors."""
    found = dataset.spaces.get(is_default=True)
    items = add_items(dataset, 60)
    vectors.write(found, [item.pk for item in items], points(60, dimension=found.dimension))
    return found


def test_small_spaces_are_compared_exactly() -> None:
    given = rows(200)
    found = graph.build(given)
    assert found.neighbours.shape == (200, graph.NEIGHBOURS)
    assert recall(found, given) == 1.0
    assert not (found.neighbours == np.arange(200)[:, None]).any()
    assert (np.diff(found.scores, axis=1) <= 1e-6).all()


def test_cells_find_nearly_all_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "_LEAST_ROWS_FOR_CELLS", 1_000)
    given = rows(2_000)
    assert recall(graph.build(given), given) > 0.9


@pytest.mark.parametrize("number", [0, 1, 2, 5])
def test_few_items_have_fewer_neighbours(number: int) -> None:
    found = graph.build(rows(number))
    assert found.neighbours.shape == (number, max(0, number - 1))
    assert (found.neighbours >= 0).all()


def test_items_that_are_all_the_same_are_no_neighbours_of_themselves() -> None:
    same = Rows(np.arange(40), np.zeros(40, dtype=np.int64), np.repeat(points(1), 40, axis=0))
    found = graph.build(same)
    assert not (found.neighbours == np.arange(40)[:, None]).any()
    assert np.allclose(found.scores, 1.0, atol=1e-5)


def test_new_ones_are_searched_in_and_enter_their_neighbours_lists() -> None:
    given = rows(400)
    old = graph.build(Rows(given.ids[:380], given.stamps[:380], given.vectors[:380]))
    amended = graph.amend(old, given)
    assert recall(amended, given) > 0.97
    assert (amended.neighbours[380:] == truth(given, graph.NEIGHBOURS)[380:]).mean() > 0.99


def test_ones_that_went_leave_no_trace() -> None:
    given = rows(400)
    left = np.arange(400) % 20 != 0
    remaining = Rows(given.ids[left], given.stamps[left], given.vectors[left])
    amended = graph.amend(graph.build(given), remaining)
    assert amended.neighbours.max() < len(remaining.ids)
    best = amended.neighbours[:, :12]
    assert (best >= 0).all()
    assert (best == truth(remaining, 12)).mean() > 0.99


def test_a_vector_that_changed_is_compared_anew() -> None:
    given = rows(400)
    changed = Rows(given.ids, given.stamps.copy(), given.vectors.copy())
    changed.stamps[3], changed.vectors[3] = 8, changed.vectors[90]
    amended = graph.amend(graph.build(given), changed)
    assert amended.neighbours[3, 0] == 90
    assert amended.neighbours[90, 0] == 3


def test_the_graph_is_kept_and_read_again(space: EmbeddingSpace) -> None:
    read = graph.read_rows(space)
    made = graph.refreshed(space, read)
    kept = graph.stored(space)
    assert kept is not None
    assert kept.version == made.version
    assert (kept.neighbours == made.neighbours).all()
    assert np.allclose(kept.scores, made.scores)
    assert not kept.neighbours.flags.writeable


def test_nothing_is_built_when_nothing_changed(space: EmbeddingSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    graph.refreshed(space, graph.read_rows(space))
    built: list[int] = []
    monkeypatch.setattr(graph, "build", lambda *args: built.append(1))
    monkeypatch.setattr(graph, "amend", lambda *args: built.append(1))
    graph.refreshed(space, graph.read_rows(space))
    assert not built


def test_rows_are_read_whatever_the_block(space: EmbeddingSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = graph.read_rows(space)
    monkeypatch.setattr(graph, "_ROWS_READ", 7)
    in_parts = graph.read_rows(space)
    assert len(whole.ids) == 60
    assert (whole.ids == in_parts.ids).all()
    assert (whole.vectors == in_parts.vectors).all()
    assert (whole.stamps == in_parts.stamps).all()


def test_a_file_that_was_cut_short_is_built_anew(space: EmbeddingSpace) -> None:
    graph.refreshed(space, graph.read_rows(space))
    path = graph._path(space.pk)
    path.write_bytes(path.read_bytes()[:-5])
    assert graph.stored(space) is None
    graph.refreshed(space, graph.read_rows(space))
    assert graph.stored(space) is not None


def test_the_graph_goes_with_its_space(space: EmbeddingSpace) -> None:
    graph.refreshed(space, graph.read_rows(space))
    space.delete()
    assert not graph._path(space.pk).exists()


def test_an_empty_space_has_an_empty_graph(dataset: Dataset) -> None:
    empty = dataset.spaces.get(is_default=True)
    assert len(graph.refreshed(empty, graph.read_rows(empty))) == 0
    kept = graph.stored(empty)
    assert kept is not None
    assert len(kept) == 0
